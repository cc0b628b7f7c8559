#!/bin/bash
# Docker Engine with the containerd image store on the daemon: load, run, build, commit, compose, prune. By hand, see README.md:
# Debian 12's engine has no containerd image store.
#   env: as containerd.sh
. "$(dirname "$(realpath "$0")")/isolate.sh"
. "$SNAP_SOURCE_DIR/tests/engine/engine.sh"
export DOCKER_HOST=unix:///run/test/docker.sock DOCKER_CONFIG=$work/docker-config
make_images
sed -i 's/"test:/"docker.io\/library\/test:/g' "$work/layout/index.json"
tar -C "$work/layout" -cf "$work/images.tar" .
start_daemon
start_containerd
export CONTAINERD_NAMESPACE=moby

dockerd_pid=''
start_dockerd() {
  cat >"$work/docker.json" <<END
{"features": {"containerd-snapshotter": true}, "storage-driver": "snap"}
END
  dockerd --config-file "$work/docker.json" --containerd "$CONTAINERD_ADDRESS" --host "$DOCKER_HOST" --data-root "$work/docker" \
    --exec-root /run/test/docker --pidfile /run/test/docker.pid --bridge none --iptables=false --ip6tables=false \
    --cgroup-parent "/${namespaces[0]}" >>"$work/dockerd.log" 2>&1 &
  dockerd_pid=$!
  wait_for "dockerd" docker version
}
start_dockerd || tail -n 20 "$work/dockerd.log"

# expect_docker ARG...: sets $out.
expect_docker() {
  status=0
  timeout -k 5 120 docker "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out")
  ((status == 0)) && return 0
  fail "docker $*: exit status $status"
  sed 's/^/  stderr: /' "$work/err" >&2
}

case_load_and_run() {
  expect_docker info --format '{{.Driver}}'
  expect_eq "storage driver" "$out" snap
  expect_docker load -i "$work/images.tar"
  expect_docker run --rm test:app sh -c 'cat /etc/motd /app/* && ls /dir && echo new > /app/new'
  expect_eq "output" "$out" $'hello from app\ntwo\nb'
  expect_docker run --rm test:app ls /app
  expect_eq "the next container sees nothing of it" "$out" two
}

case_diff_and_commit() {
  expect_docker run --name changed test:app sh -c 'echo kept > /app/kept; rm /etc/motd'
  expect_docker diff changed
  expect_eq "difference" "$(sort <<<"$out" | grep -v resolv)" $'A /app/kept\nC /app\nC /etc\nD /etc/motd'
  expect_docker commit changed test:committed
  expect_docker run --rm test:committed sh -c 'cat /app/kept; ls /etc/motd 2>/dev/null || echo gone'
  expect_eq "output" "$out" $'kept\ngone'
  expect_docker rm changed
}

case_build() {
  mkdir -p "$work/context"
  echo content >"$work/context/file"
  cat >"$work/context/Dockerfile" <<'END'
FROM test:app AS first
RUN echo one > /one && rm /app/two
COPY file /copied
RUN mkdir /many && for i in 1 2 3 4 5 6 7 8 9; do echo $i > /many/$i; done
FROM test:base
COPY --from=first /many /many
RUN cat /many/* > /all && rm -r /many/1
END
  expect_docker build --network none -t built "$work/context"
  expect_docker run --rm built sh -c 'cat /all | tr -d "\n"; ls /many | tr -d "\n"'
  expect_eq "output" "$out" 12345678923456789
  expect_docker build --network none --target first -t first "$work/context"
  expect_docker run --rm first sh -c 'cat /one /copied; ls /app'
  expect_eq "output" "$out" $'one\ncontent'
}

case_compose_two_services() {
  docker compose version >/dev/null 2>&1 || {
    echo "(no compose here)"
    return 0
  }
  cat >"$work/compose.yaml" <<'END'
services:
  writer: {image: "test:app", network_mode: none, volumes: ["shared:/shared"], command: ["sh", "-c", "echo from writer > /shared/f; sleep 1000"]}
  reader: {image: "test:base", network_mode: none, volumes: ["shared:/shared"], command: ["sh", "-c", "until [ -s /shared/f ]; do sleep 0.05; done; sleep 1000"]}
volumes: {shared: {}}
END
  expect_docker compose -p two -f "$work/compose.yaml" up -d
  wait_for "the writer" docker compose -p two -f "$work/compose.yaml" exec -T reader cat /shared/f
  kill_daemon
  expect_docker compose -p two -f "$work/compose.yaml" exec -T reader cat /shared/f
  expect_eq "output without a daemon" "$out" "from writer"
  start_daemon
  expect_docker compose -p two -f "$work/compose.yaml" down -v -t 0
}

case_prune_leaves_nothing() {
  expect_docker image rm -f built first test:committed test:app test:base test:pause
  expect_docker system prune -af
  expect_docker builder prune -af
  collected() { [ -z "$(snapshots)" ]; }
  wait_for "removal of all snapshots" collected
  end_process "$dockerd_pid" TERM || true
  stop_containerd
  stop_daemon
  if [ -z "$reference" ]; then
    expect_ok system gc
    expect_clean
  fi
}

run_cases || { tail -n 20 "$work/dockerd.log" >&2; exit 1; }
