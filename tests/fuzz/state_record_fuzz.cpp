// The text of a state record, as it is and with the checksum that fits it,
// since anybody can compute that.
#include <openssl/evp.h>

#include <array>
#include <string>

#include "fuzz/fuzzers.hpp"
#include "reprotect/error.hpp"
#include "reprotect/state_record.hpp"

namespace reprotect::fuzz {
namespace {

std::string checksum_line(const std::string& text) {
    static constexpr char digits[] = "0123456789abcdef";
    std::array<unsigned char, 32> sum{};
    promise(EVP_Digest(text.data(), text.size(), sum.data(), nullptr, EVP_sha256(), nullptr) == 1,
            "OpenSSL has SHA-256");
    std::string line = "sha256: ";
    for (const unsigned char byte : sum) line.append({digits[byte >> 4], digits[byte & 15]});
    return line + "\n";
}

void check(const std::string& text) {
    try {
        const reprotect::state_record record = parse_state_record(text, "record");
        promise(serialize(record) == text, "a record that is read is what its value is written as");
    } catch (const error& why) {
        promise(why.kind() == error_kind::corrupt_file, "text that is no record is a corrupt file");
        promise(!why.detail().hint.empty(), "who has a corrupt record is told what to do");
    }
}

}  // namespace

void state_record(input bytes) {
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    check(text);
    // In place of the last line.
    const std::size_t last = text.rfind("sha256: ");
    const std::string body = text.substr(0, last);
    check(body + checksum_line(body));
}

}  // namespace reprotect::fuzz
