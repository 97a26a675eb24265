// Opening a disk by name: one table of schemes, each with what it accepts and refuses.
#pragma once

#include "reprotect/device.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace reprotect {

enum class access { read_only, read_write };

struct open_options {
    access mode = access::read_only;
    bool direct = false;  ///< O_DIRECT where alignment allows; unaligned heads and tails go through the cache, exactly
    bool create = false;  ///< a missing file is created, empty; `properties().created` says so
    /// How long a server may owe an answer without sending a byte, before the disk fails; ten times as long for a flush.
    std::chrono::milliseconds patience{60'000};
};

/// Opens a disk. Names: a path to a block device or raw image, `raw:PATH` to skip the check for containers.
/// A path whose content is qcow2, vmdk, vhdx or a dynamic vhd is refused (`container`) with the prefix to use in the hint;
/// a fixed vhd is its data without the 512-byte footer (and is not resizable). A file of whole 4 KiB with such a footer is
/// taken for one only if its name ends in .vhd, else refused: the guest of a raw disk could have written the footer.
///
/// `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH` (the NBD URI specification; parameters that it does not know
/// are ignored). Over TLS `nbds://HOST[:PORT]/EXPORT?tls-certificates=FOLDER`, with ca-cert.pem there, or for both kinds
/// `tls-psk-file=FILE` and USER@; what could not check the server is refused (`usage`). A server's allocation saves reading and
/// zeroing; several connections are used where the server promises that a flush covers them all. `direct` has no meaning.
/// A server that offers no flush is no target (`unsuitable`). Whoever lost the connection, or waited longer than `patience`,
/// gets `peer`; a flush that was lost so is `flush_failed`.
///
/// `qcow2:PATH`, `vmdk:PATH`, `vhdx:PATH`, `vpc:PATH`: the disk inside an image, through a qemu-nbd (Debian: qemu-utils) that
/// is started for the device and ends with it, also when this process is killed. QEMU's own locks keep others away from the
/// image. Backing files are opened for reading, as the image names them: open only images that you trust.
///
/// Throws `usage` for a scheme that is unknown or not built in, `not_found`, `permission`, `unsuitable` (a directory, socket,
/// character device, an empty block device, or a read-only device opened for writing), `container`, `in_use` (a lease).
/// Opening writes nothing and takes no lock (see interlock.hpp). Files are opened without following a final link twice: what
/// is checked is what the descriptor holds.
std::unique_ptr<device> open_device(const std::string& name, const open_options& options = {});

/// Takes away a file that `open_device` created, if nobody else uses it and no data was written to it: a file of nothing would
/// look like a disk of zeroes. Waits a second for others to go away; where anything is in doubt the file stays.
void remove_if_untouched(device& disk) noexcept;

/// The path of the file or block device that a name stands for ("raw:PATH" without its prefix); nothing for a name that stands
/// for something else: an export, the disk inside an image, a scheme that is not known. Only looks at the name.
std::optional<std::string> named_path(const std::string& name);

/// What a raw image's head or tail says that it is: "qcow2", "vmdk", "vhdx", "vpc", "fixed-vhd", or "" for raw.
std::string detect_container(device& disk);

}  // namespace reprotect
