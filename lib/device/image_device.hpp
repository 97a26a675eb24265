// The disk inside an image file (qcow2, vmdk, vhdx, vpc): an NBD disk whose server, a qemu-nbd, is started for it.
#pragma once

#include "base/owned_descriptor.hpp"
#include "device/nbd_device.hpp"
#include "reprotect/device.hpp"
#include "reprotect/open_device.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

class image_device final : public device_decorator {
public:
    struct lower {
        owned_descriptor descriptor;
        std::string path;
        bool written = false;
    };

    image_device(std::unique_ptr<nbd_device> disk, std::vector<lower> files, int server)
        : device_decorator(*disk), disk_(std::move(disk)), files_(std::move(files)), server_(server) {}

    ~image_device() override;

    std::vector<lower_file> lies_in() const override;

private:
    std::unique_ptr<nbd_device> disk_;
    std::vector<lower> files_;
    int server_;
};

/// `format` is one of QEMU's: "qcow2", "vmdk", "vhdx", "vpc". `name` is the disk's as the user wrote it, `image` the file, or
/// block device, that `path` led to; opened for writing where the disk is to be written.
std::unique_ptr<device> open_image_inside(const std::string& name, std::string_view format, const std::string& path,
                                          std::unique_ptr<device> image, const open_options& options);

}  // namespace reprotect
