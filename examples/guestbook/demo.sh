#!/usr/bin/env bash
# The guestbook on a cluster of its own: `demo.sh up` starts both and tells what to try,
# `demo.sh images` only makes the images, `demo.sh down` leaves the machine as it was.
# LIGHTER (the binary), DATA_DIR and GUESTBOOK_BUILD (where images are made) may be set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
LIGHTER=${LIGHTER:-$top/bin/lighter}
DATA_DIR=${DATA_DIR:-/var/lib/lighter}
build=${GUESTBOOK_BUILD:-$top/bin/guestbook}
export KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}
kubectl() { "$LIGHTER" kubectl --context lighter "$@"; }
began=$(date +%s%N)
say() { printf '%6.2f s  %s\n' "$(( ($(date +%s%N) - began) / 10000000 ))e-2" "$*"; }

# redis_root unpacks Debian's redis-server and its libraries, once.
redis_root() {
  [ -e "$build/redis/usr/bin/redis-server" ] && return
  rm -rf "$build/redis" "$build/deb"
  mkdir -p "$build/redis" "$build/deb"
  if ! apt-cache show redis-server >/dev/null 2>&1; then apt-get update -qq; fi
  local packages
  packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances redis-server |
    grep -E '^(redis|lib)[a-z0-9.+-]*$' | grep -vE '^lib.*-(perl|bin|dev|data)$' | sort -u)
  # shellcheck disable=SC2086
  download() { (cd "$build/deb" && apt-get -qq -o APT::Sandbox::User=root download $packages); }
  download 2>"$build/apt.log" || { apt-get update -qq && download; } || { cat "$build/apt.log" >&2; return 1; }
  for deb in "$build"/deb/*.deb; do dpkg-deb -x "$deb" "$build/redis"; done
}

need_curl() { command -v curl >/dev/null || { apt-get update -qq; apt-get install -y -qq curl >/dev/null; }; }

images() {
  mkdir -p "$build"
  for tag in v1 v2; do
    (cd "$top" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$tag" -o "$build/web-$tag" ./examples/guestbook/web)
    [ "$build/web-$tag.tar" -nt "$build/web-$tag" ] ||
      (cd "$top" && go run ./examples/guestbook/images -web "$build/web-$tag" -tag "$tag" -out "$build/web-$tag.tar")
  done
  redis_root
  [ -e "$build/redis.tar" ] || (cd "$top" && go run ./examples/guestbook/images -root "$build/redis" -out "$build/redis.tar")
}

address() { kubectl -n guestbook get service web -o jsonpath='{.status.loadBalancer.ingress[0].ip}:{.spec.ports[0].port}'; }

up() {
  [ "$(id -u)" = 0 ] || { echo "the demo needs root: containers and a pod network" >&2; exit 1; }
  need_curl
  images
  say "images of redis and the guestbook"
  "$LIGHTER" up --data-dir "$DATA_DIR"
  say "cluster"
  "$LIGHTER" image load --data-dir "$DATA_DIR" "$build"/redis.tar "$build"/web-v1.tar "$build"/web-v2.tar >/dev/null
  say "images on the node"
  kubectl apply -f "$here/manifests" | sed 's/^/          /'
  kubectl -n guestbook rollout status deployment/redis --timeout=120s >/dev/null
  kubectl -n guestbook rollout status deployment/web --timeout=120s >/dev/null
  kubectl -n guestbook wait --for=condition=complete job/seed --timeout=120s >/dev/null
  say "guestbook is up"
  local url
  for _ in $(seq 100); do url=$(address); [ "${url%%:*}" ] && break; sleep 0.1; done
  for _ in $(seq 50); do curl -fsS -m 2 "http://$url/" >/dev/null 2>&1 && break; sleep 0.1; done
  curl -fsS -m 5 "http://$url/" >/dev/null
  say "first answer"
  echo
  "$LIGHTER" status --data-dir "$DATA_DIR"
  cat <<EOF

The guestbook: http://$url/

Try:
  $LIGHTER kubectl -n guestbook get pods -o wide
  $LIGHTER kubectl -n guestbook scale deployment/web --replicas 10
  $LIGHTER kubectl -n guestbook set image deployment/web web=guestbook.example/web:v2
EOF
}

case ${1:-up} in
  images) images ;;
  up) up ;;
  down) "$LIGHTER" reset --data-dir "$DATA_DIR" --yes && rm -rf "$build" ;;
  *) echo "usage: $0 up|images|down" >&2; exit 2 ;;
esac
