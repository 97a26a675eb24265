// XXH3-128 through xxHash's run-time dispatch (AVX-512, AVX2 or SSE2), SHA-256 through OpenSSL's fetched method, which
// spares the look-up that its one-shot call makes every time.
#include "codec/digester.hpp"

#include <openssl/evp.h>

#include <cstring>
#include <memory>
#include <vector>

#include "codec/random.hpp"
#include "reprotect/error.hpp"

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace reprotect {
namespace {

constexpr std::size_t prefix_bytes = 16;
enum class node_kind : std::uint8_t { chunk = 1, node = 2, root = 3 };

void store_le(std::byte* at, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

void store_prefix(std::byte* at, node_kind kind, std::uint64_t length) {
    std::memset(at, 0, prefix_bytes);
    at[0] = static_cast<std::byte>(kind);
    at[1] = std::byte{1};
    store_le(at + 8, length, 8);
}

digest from_xxh(XXH128_hash_t hash) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    digest result;
    std::memcpy(result.bytes.data(), canonical.digest, result.bytes.size());
    return result;
}

struct evp_deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(EVP_MD* method) const { EVP_MD_free(method); }
};

[[noreturn]] void sha256_failed() {
    throw error(error_kind::usage, "SHA-256 is not available from OpenSSL");
}

std::array<std::byte, 32> sha256(std::span<const std::byte> data) {
    static const std::unique_ptr<EVP_MD, evp_deleter> method(EVP_MD_fetch(nullptr, "SHA256", nullptr));
    thread_local const std::unique_ptr<EVP_MD_CTX, evp_deleter> context(EVP_MD_CTX_new());
    std::array<std::byte, 32> result;
    if (!method || !context || EVP_DigestInit_ex2(context.get(), method.get(), nullptr) != 1 ||
        EVP_DigestUpdate(context.get(), data.data(), data.size()) != 1 ||
        EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(result.data()), nullptr) != 1)
        sha256_failed();
    return result;
}

}  // namespace

const char* to_string(digest_algorithm algorithm) noexcept {
    return algorithm == digest_algorithm::xxh3 ? "xxh3" : "sha256";
}

digest_algorithm parse_digest_algorithm(std::string_view text) {
    if (text == "xxh3") return digest_algorithm::xxh3;
    if (text == "sha256") return digest_algorithm::sha256;
    throw error(error_kind::usage, "there is no digest algorithm \"" + std::string(text) + "\"",
                {.hint = "use xxh3 or sha256"});
}

std::string to_hex(const digest& value) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (const std::byte byte : value.bytes) {
        text += digits[std::to_integer<unsigned>(byte) >> 4];
        text += digits[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

digest_secret random_secret() {
    digest_secret secret;
    fill_random(secret.bytes);
    return secret;
}

digest_secret derive_secret(const std::array<std::byte, 32>& source_nonce,
                            const std::array<std::byte, 32>& target_nonce, const std::array<std::byte, 32>& binding) {
    static constexpr char label[] = "reprotect secret 1";
    std::vector<std::byte> input(sizeof label + 96 + 1);
    std::memcpy(input.data(), label, sizeof label);
    std::memcpy(input.data() + sizeof label, source_nonce.data(), 32);
    std::memcpy(input.data() + sizeof label + 32, target_nonce.data(), 32);
    std::memcpy(input.data() + sizeof label + 64, binding.data(), 32);
    digest_secret secret;
    for (std::size_t block = 0; block < secret.bytes.size() / 32; ++block) {
        input.back() = static_cast<std::byte>(block);
        const auto part = sha256(input);
        std::memcpy(secret.bytes.data() + 32 * block, part.data(), 32);
    }
    return secret;
}

digest digester::bytes(std::span<const std::byte> data) const {
    if (algorithm_ == digest_algorithm::sha256) return sha256_128(data);
    return from_xxh(XXH3_128bits_withSecret(data.data(), data.size(), secret_.bytes.data(), secret_.bytes.size()));
}

digest digester::chunk(std::uint64_t length, std::span<const digest> blocks) const {
    thread_local std::vector<std::byte> input;
    input.resize(prefix_bytes + blocks.size_bytes());
    store_prefix(input.data(), node_kind::chunk, length);
    std::memcpy(input.data() + prefix_bytes, blocks.data(), blocks.size_bytes());
    return bytes(input);
}

digest digester::node(std::uint64_t length, const digest& left, const digest& right) const {
    std::array<std::byte, prefix_bytes + 32> input;
    store_prefix(input.data(), node_kind::node, length);
    std::memcpy(input.data() + prefix_bytes, left.bytes.data(), 16);
    std::memcpy(input.data() + prefix_bytes + 16, right.bytes.data(), 16);
    return bytes(input);
}

digest digester::root(const geometry& shape, const digest* top) const {
    std::array<std::byte, prefix_bytes + 8 + 16> input{};
    store_prefix(input.data(), node_kind::root, shape.disk_bytes);
    store_le(input.data() + prefix_bytes, shape.chunk_bytes, 4);
    store_le(input.data() + prefix_bytes + 4, shape.block_bytes, 4);
    if (top) std::memcpy(input.data() + prefix_bytes + 8, top->bytes.data(), 16);
    return bytes(std::span(input).first(top ? input.size() : prefix_bytes + 8));
}

zero_digests::zero_digests(const digester& with, const geometry& shape) {
    const std::vector<std::byte> zeroes(shape.block_bytes);
    block_ = with.bytes(zeroes);
    chunk_ = with.chunk(shape.chunk_bytes, std::vector<digest>(shape.chunk_bytes / shape.block_bytes, block_));
    tail_block_ = block_;
    tail_chunk_ = chunk_;
    last_chunk_ = shape.chunk_count();  // no such chunk, unless the disk has one
    if (last_chunk_ == 0) return;
    --last_chunk_;
    const std::uint32_t blocks = shape.blocks_in(last_chunk_);
    last_block_ = blocks - 1;
    tail_block_ = with.bytes(std::span(zeroes).first(shape.block(last_chunk_, last_block_).length));
    std::vector<digest> tail(blocks, block_);
    tail.back() = tail_block_;
    tail_chunk_ = with.chunk(shape.chunk(last_chunk_).length, tail);
}

digest sha256_128(std::span<const std::byte> data) {
    const auto full = sha256(data);
    digest result;
    std::memcpy(result.bytes.data(), full.data(), result.bytes.size());
    return result;
}

}  // namespace reprotect
