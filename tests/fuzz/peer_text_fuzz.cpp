// Text of a peer, as messages and logs show it: one line, no control character,
// valid UTF-8.
#include <string>

#include "base/utf8.hpp"
#include "fuzz/fuzzers.hpp"

namespace reprotect::fuzz {

void peer_text(input bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::string line = on_one_line(text);
    for (std::size_t i = 0; i < line.size(); ++i) {
        const auto letter = static_cast<unsigned char>(line[i]);
        promise(letter >= 0x20 && letter != 0x7f, "no control character is shown");
        const bool c1 = letter == 0xc2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xa0;
        promise(!c1, "no control character of the second kind is shown");
    }
    promise(valid_utf8(line) == line, "what is shown is UTF-8");
    const std::string valid = valid_utf8(text);
    promise(valid_utf8(valid) == valid, "what is UTF-8 stays as it is");
    promise(on_one_line(line) == line, "what is fit to be shown stays as it is");
}

}  // namespace reprotect::fuzz
