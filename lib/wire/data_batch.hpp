// chunk_data messages on the wire: a stream of runs' bytes that is cut into batches of up to 1 MiB, each compressed by
// itself and sent as one data frame (grammar: frame.hpp). So that workers compress and decompress several at once, a
// batch depends on none before it but for where its bytes go, and that is decided in order, on one thread, by the two
// classes here.
//
//   deciding thread            worker                       wire       deciding thread       worker
//   batch_builder.add, take -> encode (gather, compress) -> frame  ->  batch_reader.open ->  fill (decompress, scatter)
//
// A sender copies bytes only to gather what lies in pieces; a receiver only to scatter them. What the runs do not cover
// of a receiver's buffer is never read or written.
//
// What a batch holds is of many places of a disk, and often of two sorts: text, tables, code, which shrink, and media,
// archives, ciphers, which do not. Where it has both, only the first goes through zstd: that is faster, and smaller,
// since its matches and its statistics are then those of its own sort.
//
// A head never outgrows its limit: a run takes two bytes, and a third or fourth only where it has 64 blocks or more or
// 128 are skipped, so a chunk's runs take at most 2 bytes a block. 2 * 32768 (16 MiB in 512-byte blocks) and the 8 + 16
// + 3 before the runs are about half of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer_pool.hpp"
#include "codec/compressor.hpp"
#include "peer/message.hpp"
#include "reprotect/geometry.hpp"
#include "wire/frame.hpp"

namespace reprotect {

enum class batch_codec : std::uint8_t { raw = 0, zstd = 1, split = 2 };

struct split_marks;

/// Bytes of a chunk's buffer. Shared: a chunk may be cut over batches, which are encoded and sent apart.
struct batch_piece {
    std::shared_ptr<const buffer> of;
    std::size_t offset = 0;
    std::size_t length = 0;
};

/// What one data frame will hold.
struct batch {
    std::vector<std::byte> head;
    std::vector<batch_piece> pieces;  ///< neighbours in one buffer are one piece
    std::uint32_t raw_bytes = 0;
    std::uint32_t chunks = 0;  ///< messages whose entry is in it
};

/// Its frame is no longer, compressed or not.
std::uint64_t frame_bytes_max(const batch& of) noexcept;

/// Collects messages in order. For one thread.
class batch_builder {
public:
    /// `released` is called once for each payload, when its last piece is let go, on the thread where that happens, with
    /// the size of its buffer.
    explicit batch_builder(const geometry& shape, std::function<void(std::size_t bytes)> released = {});

    /// Asserts that the runs are in order and within the chunk, and that the payload holds their bytes.
    void add(chunk_data&& data);

    /// The next batch that is closed: it has `batch_raw_bytes_max`, or its head had no room for the next entry.
    std::optional<batch> take_full();
    /// The next batch, full or not; nothing when all is taken. The last one leaves no chunk open.
    std::optional<batch> take_rest();

    bool empty() const noexcept { return full_.empty() && open_.chunks == 0 && open_.pieces.empty(); }
    /// What it holds, as frames at most.
    std::uint64_t bytes() const noexcept;

private:
    void close();
    void add_piece(const std::shared_ptr<const buffer>& payload, std::size_t offset, std::size_t length);

    geometry shape_;
    std::function<void(std::size_t)> released_;
    std::deque<batch> full_;
    batch open_;
};

/// A data frame, ready to be written: `head`, then `body()`.
class encoded_batch {
public:
    std::vector<std::byte> head;  ///< the frame's header and all of its payload before the body
    std::span<const std::byte> body() const noexcept { return body_; }
    std::uint32_t raw_bytes = 0;
    batch_codec codec = batch_codec::raw;

private:
    friend class batch_encoder;
    std::span<const std::byte> body_;
    buffer own_;                          // where the bytes were gathered or compressed,
    std::shared_ptr<const buffer> from_;  // or the chunk's buffer that they are still in
};

/// For one thread at a time.
class batch_encoder {
public:
    /// Where bodies are gathered and compressed: whole buffers of `batch_raw_bytes_max`, used again and again.
    explicit batch_encoder(std::shared_ptr<buffer_pool> bodies = std::make_shared<buffer_pool>(batch_raw_bytes_max));

    /// Compresses, unless that saves less than 1/32; where some looks like noise and some does not, the latter alone; not
    /// even that where it is `doubtful`, because what came before did not shrink, and a sixteenth of it, here and there,
    /// is noise. Lets go of the pieces' buffers, but for one that the body lies in.
    encoded_batch encode(batch from, int level, bool doubtful = false);

private:
    struct packed_body;

    std::optional<packed_body> pack(std::span<const std::byte> raw, int level, bool doubtful);
    std::optional<std::span<std::byte>> split(std::span<const std::byte> raw, const split_marks& marks, int level,
                                              std::span<std::byte> room);

    std::shared_ptr<buffer_pool> bodies_;  // shared: what is encoded may outlive the encoder
    compressor with_;
};

/// A data frame's payload begins with this.
struct batch_header {
    batch_codec codec = batch_codec::raw;
    std::uint32_t raw_bytes = 0;
    std::uint32_t head_bytes = 0;
    std::uint32_t body_bytes = 0;  ///< what is left of the frame
};

/// The first bytes of a data frame's payload; `length` is the frame's. Checks that the sizes are within their limits
/// and fit each other: a raw body has raw_bytes, every other less, and at least one.
wire_result<batch_header> decode_batch_header(std::span<const std::byte, batch_header_bytes> bytes,
                                              std::uint32_t length) noexcept;

/// Where one data frame's bytes go. The destinations lie in buffers that are in `complete`, here or in a batch that is
/// opened later, or in the reader: none of those may be given away or destroyed before this batch is filled.
struct incoming_batch {
    batch_header header;
    std::vector<std::span<std::byte>> destinations;  ///< in the order of the bytes
    std::vector<chunk_data> complete;  ///< messages that are whole once this and all earlier batches are filled
    std::uint64_t payload_bytes = 0;   ///< of all chunks that begin here
};

/// What the other side may still send: payloads, while those before are fewer than so many bytes.
struct data_allowance {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
};

/// Takes data frames in order, for one thread.
class batch_reader {
public:
    /// A whole one of the pool's buffers holds a chunk. Shared: messages outlive the reader.
    batch_reader(const geometry& shape, std::shared_ptr<buffer_pool> pool);

    /// Checks a batch's head, and then takes a buffer of the right size for each of its chunks with a payload. After a refusal the
    /// reader must not be used. `head` has the header's head_bytes (asserted).
    wire_result<incoming_batch> open(const batch_header& header, std::span<const std::byte> head,
                                     data_allowance allowed);

private:
    struct partial_chunk {
        chunk_data data;
        std::uint64_t missing = 0;  // bytes of its payload
    };

    wire_result<std::vector<partial_chunk>> parse(std::span<const std::byte> head, data_allowance allowed) const;
    void assign(partial_chunk& to, std::uint64_t count, std::vector<std::span<std::byte>>& destinations);

    geometry shape_;
    std::shared_ptr<buffer_pool> pool_;
    std::optional<partial_chunk> open_;
};

/// Puts a batch's bytes in their places. `body` has the header's body_bytes (asserted). On any thread, in any order of
/// batches. A raw body that was read into `direct_destination` is in its place already. `scratch` has whole buffers of
/// `batch_raw_bytes_max`.
wire_result<void> fill(incoming_batch& into, std::span<const std::byte> body, decompressor& with, buffer_pool& scratch);

/// Where the body may be read to straight from the socket: not empty where it is raw and goes to one place.
std::span<std::byte> direct_destination(incoming_batch& of) noexcept;

}  // namespace reprotect
