// Key files: what is written, who may read it, and everything that is no key.
#include "reprotect/key.hpp"

#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

using namespace reprotect;
using namespace reprotect::test;

namespace {

const std::string counted_text = "reprotect-key-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

shared_key counted_key() {
    shared_key key;
    for (std::size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<std::byte>(i);
    return key;
}

std::string text_of(const std::string& path) {
    const std::vector<std::byte> content = read_whole_file(path);
    return {reinterpret_cast<const char*>(content.data()), content.size()};
}

// A key file with that text, for its owner alone.
std::string key_file(const temp_dir& folder, const std::string& text) {
    const std::string path = folder.file("key");
    write_whole_file(path, std::as_bytes(std::span(text)));
    std::filesystem::permissions(path, std::filesystem::perms(0600));
    return path;
}

mode_t mode_of(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) throw std::runtime_error("cannot stat " + path);
    return status.st_mode & 07777;
}

class umask_set {
public:
    explicit umask_set(mode_t mask) : before_(::umask(mask)) {}
    umask_set(const umask_set&) = delete;
    umask_set& operator=(const umask_set&) = delete;
    ~umask_set() { ::umask(before_); }

private:
    mode_t before_;
};

}  // namespace

TEST_CASE("a key file is one line that loads as the key that was made", "[wire]") {
    const temp_dir folder;
    const std::string path = folder.file("key");
    const shared_key made = create_key_file(path);
    CHECK(load_key_file(path) == made);
    const std::string text = text_of(path);
    CHECK(text.size() == 81);
    CHECK(text.substr(0, 16) == "reprotect-key-1 ");
    CHECK(text.substr(16, 64).find_first_not_of("0123456789abcdef") == std::string::npos);
    CHECK(text.back() == '\n');
    CHECK_FALSE(made == shared_key());
}

TEST_CASE("a key file's text is the key's bytes in order, in lower-case hex", "[wire]") {
    const temp_dir folder;
    CHECK(load_key_file(key_file(folder, counted_text + "\n")) == counted_key());
    CHECK(load_key_file(key_file(folder, counted_text)) == counted_key());
}

TEST_CASE("a key file is for its owner alone, whatever the umask", "[wire]") {
    const temp_dir folder;
    for (const mode_t mask : {mode_t{0}, mode_t{0022}, mode_t{0777}}) {
        const std::string path = folder.file("key" + std::to_string(mask));
        const umask_set set(mask);
        create_key_file(path);
        CHECK(mode_of(path) == 0600);
    }
}

TEST_CASE("a key file never takes the place of something else", "[wire]") {
    const temp_dir folder;
    const std::string path = folder.file("key");
    create_key_file(path);
    const std::string before = text_of(path);
    const std::optional<error> failure = failure_of([&] { create_key_file(path); });
    require_failure(failure, error_kind::in_use, path);
    CHECK_THAT(failure->detail().hint, Catch::Contains("another name"));
    CHECK(text_of(path) == before);

    const std::string link = folder.file("link");
    std::filesystem::create_symlink(folder.file("elsewhere"), link);
    require_failure(failure_of([&] { create_key_file(link); }), error_kind::in_use, link);
    CHECK_FALSE(std::filesystem::exists(folder.file("elsewhere")));
    require_failure(failure_of([&] { create_key_file(folder.path()); }), error_kind::in_use, folder.path().string());
}

TEST_CASE("a key file is made only where there is a folder", "[wire]") {
    const temp_dir folder;
    require_failure(failure_of([&] { create_key_file(folder.path() / "none" / "key"); }), error_kind::not_found,
                    "none");
    require_failure(failure_of([&] { create_key_file(folder.path() / ""); }), error_kind::unsuitable, "directory");
    const std::string path = key_file(folder, "a file\n");
    require_failure(failure_of([&] { create_key_file(std::filesystem::path(path) / "key"); }), error_kind::unsuitable,
                    path);
}

TEST_CASE("a key file that others may use is refused, with the command that helps", "[wire]") {
    const temp_dir folder;
    const std::string path = key_file(folder, counted_text);
    for (const unsigned mode : {0640u, 0620u, 0610u, 0604u, 0602u, 0601u, 0666u}) {
        std::filesystem::permissions(path, std::filesystem::perms(mode));
        const std::optional<error> failure = failure_of([&] { load_key_file(path); });
        require_failure(failure, error_kind::permission, path);
        CHECK_THAT(failure->detail().hint, Catch::Contains("chmod 600 " + path));
    }
    std::filesystem::permissions(path, std::filesystem::perms(0400));
    CHECK(load_key_file(path) == counted_key());
}

TEST_CASE("a link to a key file is followed, and the file behind it is the one that is judged", "[wire]") {
    const temp_dir folder;
    const std::string path = key_file(folder, counted_text);
    const std::string link = folder.file("link");
    std::filesystem::create_symlink(path, link);
    CHECK(load_key_file(link) == counted_key());
    std::filesystem::permissions(path, std::filesystem::perms(0644));
    require_failure(failure_of([&] { load_key_file(link); }), error_kind::permission, link);
}

TEST_CASE("a key file of another user is refused", "[wire]") {
    if (::geteuid() != 0) {
        WARN("only root can give a file away");
        return;
    }
    const temp_dir folder;
    const std::string path = key_file(folder, counted_text);
    REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
    require_failure(failure_of([&] { load_key_file(path); }), error_kind::permission, "another user");
}

TEST_CASE("a file that is not exactly one key is refused", "[wire]") {
    const temp_dir folder;
    std::string capital = counted_text;
    capital[16 + 2 * 10 + 1] = 'A';
    std::string no_digit = counted_text;
    no_digit.back() = 'g';
    std::string zero = counted_text;
    zero[40] = '\0';
    const std::vector<std::string> wrong{
        "",
        "\n",
        "reprotect-key-1 ",
        counted_text.substr(0, counted_text.size() - 1),
        counted_text + "0",
        counted_text + "00",
        counted_text + "\n\n",
        counted_text + "\r\n",
        counted_text + " ",
        "\n" + counted_text,
        " " + counted_text,
        counted_text + "\n" + counted_text + "\n",
        "reprotect-key-2 " + counted_text.substr(16),
        counted_text.substr(16),
        capital,
        no_digit,
        zero,
        std::string(1 << 20, 'a'),
    };
    for (const std::string& text : wrong) {
        const std::string path = key_file(folder, text);
        INFO("text of " << text.size() << " bytes: " << text.substr(0, 100));
        require_failure(failure_of([&] { load_key_file(path); }), error_kind::corrupt_file, path);
    }
}

TEST_CASE("no file, a folder, a FIFO and a device are no key files", "[wire]") {
    const temp_dir folder;
    require_failure(failure_of([&] { load_key_file(folder.file("none")); }), error_kind::not_found, "none");
    require_failure(failure_of([&] { load_key_file(folder.path()); }), error_kind::unsuitable, "not a regular file");
    require_failure(failure_of([&] { load_key_file("/dev/null"); }), error_kind::unsuitable, "not a regular file");
    REQUIRE(::mkfifo(folder.file("fifo").c_str(), 0600) == 0);
    require_failure(failure_of([&] { load_key_file(folder.file("fifo")); }), error_kind::unsuitable,
                    "not a regular file");
}

TEST_CASE("a key's id is the specified cut of a SHA-256", "[wire]") {
    // printf 'reprotect key id 1\0' and the bytes 0 to 31, through sha256sum
    CHECK(key_id(counted_key()) == "5b22ac57a3072b41");
    CHECK(key_id(shared_key()) == "588d0cb5bfe3aa8c");
}

TEST_CASE("generated keys differ", "[wire]") {
    std::set<std::string> ids;
    for (int i = 0; i < 100; ++i) ids.insert(key_id(generate_key()));
    CHECK(ids.size() == 100);
}

TEST_CASE("keys that differ in one bit are not equal", "[wire]") {
    for (std::size_t bit = 0; bit < 256; ++bit) {
        shared_key other = counted_key();
        other.bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
        CHECK_FALSE(other == counted_key());
    }
    CHECK(counted_key() == counted_key());
}
