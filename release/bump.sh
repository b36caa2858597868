#!/usr/bin/env bash
# Makes VERSION the version of this tree: in imageporter/__init__.py, in the files that name the image, and in CHANGELOG.md.
# Commit what it changes, then run `make release VERSION=...`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-}
old=$(sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' imageporter/__init__.py)

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "VERSION: '$version' is not a version; write three numbers, like 1.2.3" >&2; exit 2; }
grep -q '^## Unreleased$' CHANGELOG.md || { echo "CHANGELOG.md: has no section 'Unreleased'; write what users notice into one" >&2; exit 2; }

sed -i "s/^__version__ = \"[^\"]*\"/__version__ = \"$version\"/" imageporter/__init__.py
git grep -lF "imageporter/imageporter:$old" -- ':!CHANGELOG.md' | xargs -d '\n' --no-run-if-empty \
    sed -i "s#imageporter/imageporter:${old//./\\.}#imageporter/imageporter:$version#g"
sed -i "s/^## Unreleased$/## $version - $(date +%F)/" CHANGELOG.md
git --no-pager diff --stat
