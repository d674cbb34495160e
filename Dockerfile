# The image: the program, the libraries that it is linked to, the public roots, a list of what is in it. No shell, nobody's files.
#
#   docker build -t registry.ams.example.com/platform/landfall:0.1.0 .
#
# Builds for the machine it runs on, amd64 or arm64; `--platform` with an emulator for the other.
#
# The digest is that of the index of both platforms; of a reference with both, only the digest counts. Change both together.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --no-default-features --bin landfall \
 && .ci/image-root target/release/landfall /image \
 && .ci/sbom "$(uname -m)-unknown-linux-gnu" --no-default-features > /image/landfall.cdx.json \
 && chroot /image /landfall --version

FROM scratch
COPY --from=build /image/ /
# A number, so that the kubelet can tell that it is not root (`runAsNonRoot`). It owns nothing and writes nothing.
USER 65532:65532
# Bodies and what is decoded of them go back to the system at once. By default glibc raises this bound when a large piece is
# freed, and keeps the holes: under attack 15 MiB more (tests/attack.rs, which runs with it).
ENV MALLOC_MMAP_THRESHOLD_=131072
EXPOSE 8443 8080
ENTRYPOINT ["/landfall"]
