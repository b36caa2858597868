#!/bin/sh
# make demo: starts two temporary registries on loopback and runs three passes between them.
# Arguments: the Python and the crane to use. Removes everything that it creates.
set -eu
python=$1
crane=$2
bundle=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
registries=""
# -9, because a shell that has just forked would swallow any other signal, and `wait` would never return
trap 'for pid in $registries; do kill -9 "$pid" && wait "$pid" || true; done 2>/dev/null; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
cd "$folder"
export CRANE="$crane" DOCKER_CONFIG="$folder" SLEEP_TIME=0 JOBS=1 PROBES=1

say() { printf '\n== %s\n' "$1"; }
quietly() { "$@" >>demo.log 2>&1 || { cat demo.log >&2; return 1; }; }

serve() {  # name: starts a registry on a free port and sets $address
    : >"$1.log"
    "$crane" registry serve --address 127.0.0.1:0 >"$1.log" 2>&1 &
    registries="$registries $!"
    tries=0
    until port=$(sed -n 's/.*serving on port //p' "$1.log") && [ -n "$port" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 150 ] || { echo "the registry does not start:" >&2; cat "$1.log" >&2; exit 1; }
        sleep 0.2
    done
    address=127.0.0.1:$port
}

push() {  # reference, content: pushes an image of one file
    echo "$2" >file
    tar -cf layer.tar file
    quietly "$crane" append --new_layer layer.tar --new_tag "$1"
}

serve source; source=$address
serve target; target=$address

say "$source gets three images; tools:1 is for two platforms"
push "$source/app/web:1" "web, first version"
push "$source/app/db:1" "db"
for platform in amd64 arm64; do
    push "$source/app/tools:$platform" "tools for $platform"
    quietly "$crane" mutate "$source/app/tools:$platform" --set-platform "linux/$platform" --tag "$source/app/tools:$platform"
done
quietly "$crane" index append -m "$source/app/tools:amd64" -m "$source/app/tools:arm64" -t "$source/app/tools:1"

cat >images.json <<END
[
    {"source": "$source/app/web:1",   "target": "$target/mirror/web:1"},
    {"source": "$source/app/db:1",    "target": "$target/mirror/db:1"},
    {"source": "$source/app/tools:1", "target": "$target/mirror/tools:1"}
]
END
echo "[]" >accounts.json
cat images.json

say "first pass: everything is new"
"$python" "$bundle/sync.py"

say "second pass: nothing has changed"
"$python" "$bundle/sync.py"

say "web:1 changes at the source; third pass"
push "$source/app/web:1" "web, second version"
"$python" "$bundle/sync.py"

say "both registries, digest by digest"
for image in web db tools; do
    there=$("$crane" digest "$source/app/$image:1")
    here=$("$crane" digest "$target/mirror/$image:1")
    [ "$there" = "$here" ] || { echo "$image:1 differs: $there, $here" >&2; exit 1; }
    echo "$image:1 is $here in both"
done
printf '%s\n' "tools:1 is still for: $("$crane" manifest "$target/mirror/tools:1" | tr , '\n' | sed -n 's/.*"architecture":"\([^"]*\)".*/\1/p' | tr '\n' ' ')"
