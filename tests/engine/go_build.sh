# shellcheck shell=bash
# go_build OUTPUT FOLDER go build|test...: with Debian's packages of Go sources and nothing from the network. Sourced.
# FALLBACK: Debian 12 has no modules; remove GOPATH mode when the baseline does.
go_build() {
  local output=$1 folder=$2
  shift 2
  (cd "$folder" && GO111MODULE=off GOPATH=/usr/share/gocode GOPROXY=off GOFLAGS='' CGO_ENABLED=0 \
    GOCACHE=$SNAP_BINARY_DIR/tests/engine/go-cache "$@" -o "$output" .)
}
