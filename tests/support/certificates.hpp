// An authority of a test's own, and certificates that it signs, made by the openssl command.
#pragma once

#include "reprotect/credentials.hpp"

#include "support/bytes.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

#include <filesystem>
#include <span>
#include <string>

namespace reprotect::test {

struct certificate_wish {
    std::string common_name{};  ///< empty: none
    std::string names{};        ///< subjectAltName, "DNS:localhost,IP:127.0.0.1"; empty: none
    std::string usage{};        ///< extendedKeyUsage, "serverAuth"; empty: none
    int days = 2;               ///< -1: expired yesterday
};

class authority {
public:
    explicit authority(const std::string& name = "the test's authority") {
        make_key("authority-key.pem");
        run_checked({"openssl", "req", "-x509", "-new", "-sha256", "-days", "2", "-key",
                     folder_.file("authority-key.pem"), "-subj", "/CN=" + name, "-addext",
                     "keyUsage=critical,keyCertSign,cRLSign", "-out", certificate()});
    }

    std::string certificate() const { return folder_.file("authority.pem"); }

    /// A certificate with its key, for someone who believes this authority.
    certificate_files certify(const certificate_wish& wish) {
        const std::string start = std::to_string(++made_);
        const auto file = [&](const std::string& name) { return folder_.file(start + "-" + name); };
        make_key(start + "-key.pem");
        std::string says = "basicConstraints=CA:FALSE\n";
        if (!wish.names.empty()) says += "subjectAltName=" + wish.names + "\n";
        if (!wish.usage.empty()) says += "extendedKeyUsage=" + wish.usage + "\n";
        write_whole_file(file("extensions"), std::as_bytes(std::span(says)));
        run_checked({"openssl", "req", "-new", "-sha256", "-key", file("key.pem"), "-subj",
                     wish.common_name.empty() ? "/" : "/CN=" + wish.common_name, "-out", file("request")});
        run_checked({"openssl", "x509", "-req", "-sha256", "-days", std::to_string(wish.days), "-in", file("request"),
                     "-CA", certificate(), "-CAkey", folder_.file("authority-key.pem"), "-CAcreateserial", "-extfile",
                     file("extensions"), "-out", file("cert.pem")});
        return {file("cert.pem"), file("key.pem"), certificate()};
    }

private:
    void make_key(const std::string& name) const {
        run_checked({"openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", folder_.file(name)});
        std::filesystem::permissions(folder_.file(name), std::filesystem::perms(0600));
    }

    temp_dir folder_;
    int made_ = 0;
};

/// The same certificate for someone who believes another authority.
inline certificate_files believing(certificate_files files, const authority& other) {
    files.authority = other.certificate();
    return files;
}

}  // namespace reprotect::test
