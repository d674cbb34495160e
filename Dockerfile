# The image: one static program, the public roots, a list of what is in it. No shell, no libc, nobody's files.
#
#   docker build -t registry.ams.example.com/platform/landfall:0.1.0 .
#
# Builds for the machine it runs on, amd64 or arm64; `--platform` with an emulator for the other.
#
# The digest is that of the index of both platforms; of a reference with both, only the digest counts. Change both together.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /build
COPY . .
# aws-lc and mimalloc are C. gcc makes code for musl as it is: what these two use of glibc's headers, musl has, too. A few
# of gcc's own helpers (__popcountdi2) are not in every build of Rust's runtime: `-lgcc`.
RUN target="$(uname -m)-unknown-linux-musl" \
 && rustup target add "$target" \
 && export "CC_$(echo "$target" | tr - _)=gcc" \
 && cargo rustc --release --locked --no-default-features --target "$target" --bin landfall -- -C link-arg=-lgcc \
 && mkdir -p /image/etc/ssl/certs \
 && cp "target/$target/release/landfall" LICENSE /image/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && .ci/sbom "$target" --no-default-features > /image/landfall.cdx.json \
 && /image/landfall --version

FROM scratch
COPY --from=build /image/ /
# A number, so that the kubelet can tell that it is not root (`runAsNonRoot`). It owns nothing and writes nothing.
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/landfall"]
