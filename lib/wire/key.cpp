// Keys are made and read here, and every file that holds a secret is read here.
//
// What is judged is the open file, never its name: the mode, the owner and the bytes are of one and the same inode, so
// nothing can be put in its place between a look and a read. Buffers that held a secret are wiped, and sized before
// they are filled, so that no copy of them stays behind in freed memory.
#include "reprotect/key.hpp"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "base/atomic_file.hpp"
#include "base/owned_descriptor.hpp"
#include "reprotect/error.hpp"
#include "wire/tls.hpp"

namespace reprotect {
namespace {

constexpr std::string_view first_word = "reprotect-key-1 ";
constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::size_t key_text_bytes = first_word.size() + 2 * sizeof(shared_key::bytes);

// A key file's text, without the newline; lives where it can be wiped.
struct key_text {
    std::array<char, key_text_bytes + 1> characters{};
    ~key_text() { OPENSSL_cleanse(characters.data(), characters.size()); }
};

error_detail detail_of(const std::string& operation, const std::filesystem::path& path, std::string hint) {
    error_detail detail;
    detail.device = path.string();
    detail.operation = operation;
    detail.hint = std::move(hint);
    return detail;
}

error refused(error_kind kind, const std::string& operation, const std::filesystem::path& path, const std::string& why,
              std::string hint) {
    return error(kind, operation + " of " + path.string() + " refused: " + why,
                 detail_of(operation, path, std::move(hint)));
}

error failed(const std::string& operation, const std::filesystem::path& path, int code) {
    const auto as = [&](error_kind kind, std::string hint) {
        return system_error(kind, code, detail_of(operation, path, std::move(hint)));
    };
    switch (code) {
        case EEXIST:
            return as(error_kind::in_use,
                      "choose another name, or move " + path.string() + " away: it may be a key in use");
        case ENOENT:
            return as(error_kind::not_found, "check the path " + path.string());
        case EACCES:
        case EPERM:
        case EROFS:
            return as(error_kind::permission,
                      "choose a place that this user may use, or run as a user who may use " + path.string());
        case ENOTDIR:
        case EISDIR:
        case ELOOP:
        case ENAMETOOLONG:
        case ENXIO:
            return as(error_kind::unsuitable, "name a regular file");
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return as(error_kind::no_space, "make room on the file system that holds " + path.string());
        default:
            return as(error_kind::device_io, "check the file system that holds " + path.string());
    }
}

// Takes the file away again unless it became what it should be: half a key must not look like one.
class new_entry {
public:
    new_entry(int directory, std::string name) : directory_(directory), name_(std::move(name)) {}
    new_entry(const new_entry&) = delete;
    new_entry& operator=(const new_entry&) = delete;
    ~new_entry() {
        if (!kept_) ::unlinkat(directory_, name_.c_str(), 0);
    }
    void keep() noexcept { kept_ = true; }

private:
    int directory_;
    std::string name_;
    bool kept_ = false;
};

int value_of(char digit) {
    const std::size_t at = hex_digits.find(digit);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

shared_key::~shared_key() {
    OPENSSL_cleanse(bytes.data(), bytes.size());
}

bool operator==(const shared_key& left, const shared_key& right) noexcept {
    return CRYPTO_memcmp(left.bytes.data(), right.bytes.data(), left.bytes.size()) == 0;
}

secret_content::~secret_content() {
    OPENSSL_cleanse(bytes.data(), bytes.size());
}

shared_key generate_key() {
    shared_key key;
    for (std::size_t done = 0; done < key.bytes.size();) {
        const ssize_t count = ::getrandom(key.bytes.data() + done, key.bytes.size() - done, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            error_detail detail;
            detail.operation = "reading the system's random generator";
            throw system_error(error_kind::device_io, errno, std::move(detail));
        }
        done += static_cast<std::size_t>(count);
    }
    return key;
}

std::string key_id(const shared_key& key) {
    // The literal's own zero is the one that parts the two.
    constexpr char label[] = "reprotect key id 1";
    std::array<unsigned char, sizeof label + sizeof key.bytes> text{};
    std::memcpy(text.data(), label, sizeof label);
    std::memcpy(text.data() + sizeof label, key.bytes.data(), key.bytes.size());
    std::array<unsigned char, 32> digest{};
    const int made = EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
    OPENSSL_cleanse(text.data(), text.size());
    if (made != 1) throw std::bad_alloc();
    std::string id;
    for (std::size_t i = 0; i < 8; ++i) {
        id += hex_digits[digest[i] >> 4];
        id += hex_digits[digest[i] & 15];
    }
    return id;
}

shared_key create_key_file(const std::filesystem::path& path) {
    const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    const std::string name = path.filename().string();
    if (name.empty() || name == "." || name == "..")
        throw refused(error_kind::unsuitable, "create", path, "it is the name of a directory", "name a regular file");

    const shared_key key = generate_key();
    key_text text;
    std::memcpy(text.characters.data(), first_word.data(), first_word.size());
    for (std::size_t i = 0; i < key.bytes.size(); ++i) {
        const auto value = std::to_integer<unsigned>(key.bytes[i]);
        text.characters[first_word.size() + 2 * i] = hex_digits[value >> 4];
        text.characters[first_word.size() + 2 * i + 1] = hex_digits[value & 15];
    }
    text.characters[key_text_bytes] = '\n';

    const owned_descriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) throw failed("open", parent, errno);
    const owned_descriptor file(
        ::openat(directory.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) throw failed("create", path, errno);
    new_entry entry(directory.get(), name);
    // A umask takes bits away, the owner's too.
    if (::fchmod(file.get(), 0600) != 0) throw failed("create", path, errno);
    for (std::size_t done = 0; done < text.characters.size();) {
        const ssize_t count = ::write(file.get(), text.characters.data() + done, text.characters.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw failed("write", path, errno);
        done += static_cast<std::size_t>(count);
    }
    if (::fsync(file.get()) != 0) throw failed("flush", path, errno);
    if (::fsync(directory.get()) != 0) throw failed("flush", parent, errno);
    entry.keep();
    return key;
}

secret_content read_secret_file(const std::filesystem::path& path, std::size_t bytes_max, const std::string& what) {
    // O_NONBLOCK: a FIFO is refused below, and must not make the open wait for a writer.
    const owned_descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file) throw failed("open", path, errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw failed("open", path, errno);
    if (!S_ISREG(status.st_mode))
        throw refused(error_kind::unsuitable, "read", path, "it is not a regular file", "name a " + what);
    if (status.st_uid != ::geteuid() && status.st_uid != 0)
        throw refused(error_kind::permission, "read", path, "this " + what + " belongs to another user",
                      "give it to the user who runs this: chown " + std::to_string(::geteuid()) + " " + path.string());
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        throw refused(error_kind::permission, "read", path, "others than its owner may use this " + what,
                      "if nobody has seen it: chmod 600 " + path.string());

    secret_content content;
    content.bytes.resize(bytes_max + 1);
    std::size_t done = 0;
    while (done < content.bytes.size()) {
        const ssize_t count = ::read(file.get(), content.bytes.data() + done, content.bytes.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw failed("read", path, errno);
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    if (done > bytes_max)
        throw refused(error_kind::corrupt_file, "read", path,
                      "it is longer than the " + std::to_string(bytes_max) + " bytes of a " + what,
                      "check that this is the file you mean");
    content.bytes.resize(done);
    return content;
}

shared_key load_key_file(const std::filesystem::path& path) {
    const secret_content content = read_secret_file(path, key_text_bytes + 1, "key file");
    std::string_view text(reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size());
    if (text.ends_with('\n')) text.remove_suffix(1);
    const auto no_key = [&] {
        return refused(error_kind::corrupt_file, "read", path, "there is no key in it",
                       "check that this is the file you mean; reprotect key new FILE makes one");
    };
    if (text.size() != key_text_bytes || !text.starts_with(first_word)) throw no_key();
    text.remove_prefix(first_word.size());
    shared_key key;
    for (std::size_t i = 0; i < key.bytes.size(); ++i) {
        const int high = value_of(text[2 * i]);
        const int low = value_of(text[2 * i + 1]);
        if (high < 0 || low < 0) throw no_key();
        key.bytes[i] = static_cast<std::byte>(high * 16 + low);
    }
    return key;
}

}  // namespace reprotect
