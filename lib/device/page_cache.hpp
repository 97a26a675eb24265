// Getting a disk out of the page cache, and finding out whether that worked.
#pragma once

namespace reprotect {

/// Drops the clean cached pages of a regular file or block device. True only where nothing of it stayed in this machine's
/// cache and what is read next comes from a medium or a disk of its own: false on tmpfs and ramdisks, and on network file
/// systems and NBD, whose server has a cache that cannot be passed. For a loop device its backing file is dropped too.
bool drop_page_cache(int descriptor);

}  // namespace reprotect
