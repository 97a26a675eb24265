// What either side may say at any time, said without end: signs of life, warnings, how far it is. It ends, and where
// it is paid for it ends at its limit, whatever else is under way or over.
#include "hostile/malicious_peer.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

// Until nobody takes it any more.
template <typename Frame>
void flood(malicious_peer& it, const Frame& what) {
    std::vector<std::byte> many;
    for (int i = 0; i < 1000; ++i) append(many, what);
    while (true) it.say(many);
}
void flood_with_life(malicious_peer& it) {
    std::vector<std::byte> many;
    for (int i = 0; i < 1000; ++i) append_keep_alive(many);
    while (true) it.say(many);
}
// The target has all, and waits for a goodbye.
void be_applied(lying_source& it) {
    it.be_told_digests();
    for (std::uint64_t chunk = 0; chunk < it.shape.chunk_count(); ++chunk) it.say(it.true_data(chunk));
    it.say_end();
    it.hear_frame(frame_kind::applied);
}

const breach<lying_source> from_sources[] = {
    {"warnings without end, when all is done",
     [](lying_source& it) {
         be_applied(it);
         flood(it, wire_notice{std::string(4000, 'w')});
     },
     "more beside its messages than there may be",
     {.valid_data = true}},
    {"signs of life before a hello, where they are paid for",
     [](lying_source& it) {
         it.open();
         flood_with_life(it);
     },
     "stopped before more than 262144 bytes",
     {.kind = error_kind::limit, .egress_max = 256 << 10}},
    {"signs of life without end, where they are paid for",
     [](lying_source& it) {
         it.be_told_digests();
         flood_with_life(it);
     },
     "stopped before more than 262144 bytes",
     {.kind = error_kind::limit, .egress_max = 256 << 10}},
    {"warnings without end, where they are paid for",
     [](lying_source& it) {
         it.be_told_digests();
         flood(it, wire_notice{std::string(4000, 'w')});
     },
     "stopped before more than 262144 bytes",
     {.kind = error_kind::limit, .egress_max = 256 << 10}},
    {"signs of progress without end, where they are paid for",
     [](lying_source& it) {
         it.be_told_digests();
         flood(it, wire_status{});
     },
     "stopped before more than 262144 bytes",
     {.kind = error_kind::limit, .egress_max = 256 << 10}},
    {"signs of progress without end, where they are paid for, when all is done",
     [](lying_source& it) {
         be_applied(it);
         flood(it, wire_status{});
     },
     "stopped before more than 524288 bytes",
     {.kind = error_kind::limit, .valid_data = true, .egress_max = 512 << 10}},
};

const breach<lying_target> from_targets[] = {
    {"warnings without end",
     [](lying_target& it) {
         it.greet();
         flood(it, wire_notice{std::string(4000, 'w')});
     },
     "more beside its messages than there may be"},
    {"signs of life without end, in place of a hello",
     [](lying_target& it) {
         it.be_greeted();
         flood_with_life(it);
     },
     "more beside its messages than there may be"},
    {"warnings without end, where they are paid for",
     [](lying_target& it) {
         it.greet();
         flood(it, wire_notice{std::string(4000, 'w')});
     },
     "stopped before what may come back was exceeded",
     {.kind = error_kind::limit, .back_max = 2 << 20}},
    {"signs of life without end, where they are paid for",
     [](lying_target& it) {
         it.greet();
         flood_with_life(it);
     },
     "stopped before what may come back was exceeded",
     {.kind = error_kind::limit, .back_max = 2 << 20}},
    {"warnings without end, where they are paid for, when the source has said its goodbye",
     [](lying_target& it) {
         it.be_sent_all();
         it.say_applied();
         it.hear_frame(frame_kind::goodbye);
         flood(it, wire_notice{std::string(4000, 'w')});
     },
     "stopped before what may come back was exceeded",
     {.kind = error_kind::limit, .valid_data = true, .back_max = 2 << 20}},
    {"signs of progress without end, when the source has said its goodbye",
     [](lying_target& it) {
         it.be_sent_all();
         it.say_applied();
         it.hear_frame(frame_kind::goodbye);
         wire_status status;
         status.counts = target_counts{};
         flood(it, status);
     },
     "more beside its messages than there may be",
     {.valid_data = true}},
};

}  // namespace

TEST_CASE("a source that says what costs it nothing without end is given up", "[hostile][wire]") {
    for (const auto& row : from_sources) check_refused(row, attack<lying_source>(row.in, row.how));
}

TEST_CASE("a target that says what costs it nothing without end is given up", "[hostile][wire]") {
    for (const auto& row : from_targets) check_refused(row, attack<lying_target>(row.in, row.how));
}
