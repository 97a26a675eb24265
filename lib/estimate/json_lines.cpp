// Walks valid JSON: what a value is shows in its first character, and nothing is checked again. One path is kept,
// that of the value at hand, so memory is bounded by the text.
#include "estimate/json_lines.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/assert.hpp"

namespace reprotect {
namespace {

class walker {
public:
    walker(std::string_view text, std::string_view wanted) : text_(text), wanted_(wanted) {}

    void run() { value(); }

    std::size_t wanted_line() const { return wanted_line_; }
    std::optional<json_place> repeated() const { return repeated_; }

private:
    char peek() const {
        REPROTECT_ASSERT(at_ < text_.size());
        return text_[at_];
    }
    char take() {
        const char letter = peek();
        if (letter == '\n') ++line_;
        ++at_;
        return letter;
    }
    bool peeks_at(std::string_view any) const {
        return at_ < text_.size() && any.find(peek()) != std::string_view::npos;
    }
    void skip_space() {
        while (peeks_at(" \t\r\n")) take();
    }

    // Between its quotes, escapes left as they are.
    std::string_view string() {
        take();
        const std::size_t begin = at_;
        while (peek() != '"')
            if (take() == '\\') take();
        const std::string_view inside = text_.substr(begin, at_ - begin);
        take();
        return inside;
    }

    // Whether the wanted path is this one or lies within it.
    bool leads_to_wanted() const {
        if (!wanted_.starts_with(path_)) return false;
        return path_.empty() || wanted_.size() == path_.size() || wanted_[path_.size()] == '.' ||
               wanted_[path_.size()] == '[';
    }

    void value() {
        skip_space();
        if (leads_to_wanted()) wanted_line_ = line_;
        if (peek() == '{')
            object();
        else if (peek() == '[')
            array();
        else if (peek() == '"')
            string();
        else
            while (at_ < text_.size() && !peeks_at(",]} \t\r\n")) take();
        skip_space();
    }

    void object() {
        take();
        skip_space();
        std::set<std::string_view> seen;
        while (peek() != '}') {
            const std::size_t outer = path_.size();
            const std::string_view key = string();
            if (outer != 0) path_ += '.';
            path_ += key;
            if (!seen.insert(key).second && !repeated_) repeated_ = json_place{path_, line_};
            skip_space();
            take();  // the colon
            value();
            path_.resize(outer);
            if (peek() == ',') take();
            skip_space();
        }
        take();
    }

    void array() {
        take();
        skip_space();
        for (std::size_t index = 0; peek() != ']'; ++index) {
            const std::size_t outer = path_.size();
            path_ += "[" + std::to_string(index) + "]";
            value();
            path_.resize(outer);
            if (peek() == ',') take();
            skip_space();
        }
        take();
    }

    std::string_view text_;
    std::string_view wanted_;
    std::size_t at_ = 0;
    std::size_t line_ = 1;
    std::string path_;
    std::size_t wanted_line_ = 1;
    std::optional<json_place> repeated_;
};

}  // namespace

json_place find_json_path(std::string_view text, std::string path) {
    walker over(text, path);
    over.run();
    return {std::move(path), over.wanted_line()};
}

std::optional<json_place> find_repeated_field(std::string_view text) {
    walker over(text, "");
    over.run();
    return over.repeated();
}

std::size_t line_at(std::string_view text, std::size_t offset) noexcept {
    const std::string_view before = text.substr(0, std::min(offset, text.size()));
    return static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
}

}  // namespace reprotect
