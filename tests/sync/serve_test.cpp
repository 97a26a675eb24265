// A server and its clients over loopback and TLS: pushed to, pulled from, compared, checksummed; and who is kept out.
#include "support/server_rig.hpp"

#include "reprotect/open_device.hpp"
#include "support/alike.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/sync_rig.hpp"

#include <filesystem>

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::size_t disk_bytes = 4 << 20;

// Two files of which one is a stale copy of the other, and a server that offers one of them.
struct files {
    files() {
        std::vector<std::byte> bytes = random_bytes(1, disk_bytes);
        write_whole_file(current, bytes);
        for (std::size_t at = 8192; at < disk_bytes; at += 300'000) bytes[at] ^= std::byte{1};
        write_whole_file(stale, bytes);
    }
    temp_dir folder;
    const std::string current = folder.file("current.img");
    const std::string stale = folder.file("stale.img");
    bool equal() const { return read_whole_file(current) == read_whole_file(stale); }
};

}  // namespace

TEST_CASE("a push makes the server's disk equal, and both ends count the same bytes", "[sync][wire]") {
    const files disks;
    server_rig server;
    server.offer("disk", disks.stale, export_role::target);
    server.start();
    const auto source = open_device(disks.current);
    sync_request request;
    request.source = source.get();
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    require_ok(report);
    CHECK(disks.equal());
    CHECK(report.verified == proof_level::root);
    CHECK(report.mode == sync_mode::differential);
    CHECK(report.to_target.payload != 0);
    check_alike(report, server);
}

TEST_CASE("a pull makes the disk here equal", "[sync][wire]") {
    const files disks;
    server_rig server;
    server.offer("disk", disks.current, export_role::source);
    server.start();
    const auto target = open_device(disks.stale, {access::read_write});
    sync_request request;
    request.target = target.get();
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    require_ok(report);
    CHECK(disks.equal());
    check_alike(report, server);
}

TEST_CASE("a diff with a peer gives the extents that a diff of both here gives, whichever is the source",
          "[sync][wire]") {
    const files disks;
    const auto current = open_device(disks.current);
    const auto stale = open_device(disks.stale);
    const sync_report expected = diff(request_of(*current, *stale, {}));
    require_ok(expected);
    server_rig server;
    server.offer("current", disks.current, export_role::source);
    server.offer("stale", disks.stale, export_role::source);
    server.start();
    sync_request request;
    request.source = current.get();
    const sync_report pushed = diff_with_remote(request, server.disk("stale"), server.how());
    require_ok(pushed);
    CHECK(pushed.differential == expected.differential);
    request.source = nullptr;
    request.target = stale.get();
    const sync_report pulled = diff_with_remote(request, server.disk("current"), server.how());
    require_ok(pulled);
    CHECK(pulled.differential == expected.differential);
    CHECK(pulled.bytes.changed == expected.bytes.changed);
}

TEST_CASE("a checksum of a peer's disk is the checksum of that disk", "[sync][wire]") {
    const files disks;
    server_rig server;
    server.offer("disk", disks.current, export_role::target);
    server.start();
    checksum_options options;
    options.with_blocks = GENERATE(false, true);
    const auto here = open_device(disks.current);
    const checksum_report expected = checksum(*here, options);
    const checksum_report report = checksum_remote(server.disk("disk"), options, server.how());
    CHECK(report.root == expected.root);
    CHECK(report.map == expected.map);
    CHECK(report.read_bytes == expected.read_bytes);
}
