// estimate: time, bytes and money before anything moves: on paper, from what is known of the disks, or from a look at
// them. Nothing is written to a disk.
#include "reprotect/estimate.hpp"
#include "reprotect/history.hpp"
#include "reprotect/open_device.hpp"

#include <fmt/format.h>

#include <utility>

#include "cost_options.hpp"
#include "estimate_text.hpp"
#include "look.hpp"
#include "missing_target.hpp"
#include "remote_options.hpp"
#include "run.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

std::string text_of(const price_book& book) {
    std::string text =
        fmt::format("{}: {} prices{}{}\n", book.name.empty() ? "price book" : escape(book.name), book.kind,
                    book.currency.empty() ? "" : ", " + book.currency, book.date.empty() ? "" : ", " + book.date);
    for (const egress_price& price : book.prices) {
        text += fmt::format("{} {} {} -> {}:", price.provider, to_string(price.direction), escape(price.from),
                            escape(price.to));
        for (const price_tier& tier : price.tiers) {
            text += fmt::format(" {} {}/{}", to_string(tier.price),
                                price.currency.empty() ? book.currency : price.currency, to_string(price.unit));
            if (tier.up_to) text += fmt::format(" up to {},", *tier.up_to);
        }
        text += fmt::format("  ({}; {}{})\n", price.date.empty() ? book.date : price.date, escape(price.source),
                            price.note.empty() ? "" : "; " + escape(price.note));
    }
    for (const auto& [provider, of_provider] : book.zones)
        for (const auto& [zone, regions] : of_provider)
            text += fmt::format("zone {} {}: {}\n", provider, escape(zone),
                                escape(fmt::format("{}", fmt::join(regions, ", "))));
    return text;
}

std::optional<opened_disk> open_here(const arguments& line, std::size_t which) {
    std::optional<opened_disk> opened;
    if (which >= line.disks.size() || is_remote(line, which)) return opened;
    if (which == 0) {
        opened.emplace(open_device(line.disks[0], {access::read_only, line.direct, false}), line.source_allocation,
                       "--source-allocation");
    } else if (auto target = open_target_to_read(line.disks[1], line.direct)) {
        opened.emplace(std::move(target), line.target_allocation, "--target-allocation");
    }
    return opened;
}

estimate estimate_on_paper(const arguments& line, const std::optional<traffic_bill>& bill) {
    const estimate_arguments& asked = line.estimate;
    const model_registry models;
    estimate result = models.find(asked.model).run(asked.what);
    if (bill) add_cost(result, *bill);
    if (asked.history_file.empty()) return result;
    const calibration by = find_calibration(load_history(asked.history_file), result, std::nullopt);
    return calibrate(std::move(result), by);
}

}  // namespace

outcome run_estimate(const arguments& line, const surroundings& around) {
    const price_book book = book_of(line);
    if (line.estimate.list_prices) return {0, line.json ? to_json(book) + "\n" : text_of(book)};
    const std::optional<traffic_bill> bill = make_bill(line, book);
    estimate result;
    if (line.disks.empty()) {
        result = estimate_on_paper(line, bill);
    } else {
        const std::optional<opened_disk> source = open_here(line, 0), target = open_here(line, 1);
        result = look(line, {source ? &**source : nullptr, target ? &**target : nullptr}, around, bill,
                      traffic_of_look(line.options))
                     .shown;
    }
    return {0, line.json ? to_json(result) + "\n" : estimate_text(result)};
}

}  // namespace reprotect::tool
