#!/usr/bin/env bash
# A Python that this machine does not have, for `make test-python`: Debian's, with the C library it needs. Takes a version
# and a folder, and prints the path of the interpreter. As root; where the interpreter is there already, it does nothing.
#     make test-python PYTHON="$(tests/python.sh 3.14 /tmp/python-3.14)" VENV=.venv-3.14
set -euo pipefail
version=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
suite=${DEBIAN_SUITE:-testing}
python=$folder/usr/bin/python$version

need() {  # packages
    dpkg --status "$@" >/dev/null 2>&1 && return
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$@" >"$folder/apt.log" 2>&1 \
        || { tail -20 "$folder/apt.log" >&2; exit 1; }
}

"$python" -c 'import ensurepip' 2>/dev/null && { echo "$python"; exit; }

need debootstrap patchelf
rm -rf "$folder/packages"  # of a run that was interrupted
# Without DEBIAN_MIRROR, it is the one that debootstrap knows.
debootstrap --download-only --variant=minbase --include="python$version-venv" "$suite" "$folder/packages" \
    ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$folder/debootstrap.log" 2>&1 || { tail -20 "$folder/debootstrap.log" >&2; exit 1; }
for package in "$folder"/packages/var/cache/apt/archives/{lib,python,zlib}*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --no-same-owner --no-same-permissions -C "$folder"
done
rm -rf "$folder/packages"

# Debian's `python -m venv` takes pip from a fixed folder.
sed -i "s#'/usr/share/python-wheels/*'#'$folder/usr/share/python-wheels'#" "$folder/usr/lib/python$version"/_sysconfigdata*.py
# Only this interpreter gets these libraries: the programs that it starts keep the machine's.
patchelf --force-rpath --set-rpath "$(echo "$folder"/usr/lib/*-linux-gnu*)" "$python"
patchelf --set-interpreter "$folder/usr$(patchelf --print-interpreter "$python")" "$python"
"$python" -c 'import ensurepip, sqlite3, ssl'
echo "$python"
