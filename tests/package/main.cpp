// An agent outside this tree: syncs two disks in memory with nothing but the installed headers and library.
#include <reprotect/async.hpp>
#include <reprotect/memory_device.hpp>
#include <reprotect/sync.hpp>
#include <reprotect/units.hpp>

#include <cstddef>
#include <cstdio>
#include <vector>

int main() {
    const std::uint64_t size_bytes = reprotect::parse_size("8MiB") + 511;
    reprotect::memory_device source(size_bytes, "source");
    reprotect::memory_device target(size_bytes, "target");
    const std::vector<std::byte> content(10000, std::byte{42});
    source.write(3 * 1024 * 1024 + 77, content);

    reprotect::sync_request request;
    request.source = &source;
    request.target = &target;
    const reprotect::sync_report report = reprotect::sync(request);
    if (!report.ok()) {
        std::fprintf(stderr, "sync: %s\n", report.failure->what());
        return 1;
    }

    std::vector<std::byte> found(content.size());
    target.read(3 * 1024 * 1024 + 77, found);
    if (found != content || report.bytes.changed == 0) {
        std::fprintf(stderr, "the target does not hold what the source does\n");
        return 1;
    }
    std::printf("%s\n", reprotect::to_json(report).c_str());
    return 0;
}
