#!/usr/bin/env bash
# Makes VERSION the version of this tree: in the files that name the image, in CHANGELOG.md, and in imageporter/__init__.py.
# Commit what it changes, then run `make release VERSION=...`. After an interruption, run it again.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-}
old=$(sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' imageporter/__init__.py)
number='(0|[1-9][0-9]*)'
mistakes=()

if [[ ! $version =~ ^$number\.$number\.$number$ ]]; then
    mistakes+=("VERSION: '$version' is not a version; write three numbers, like 1.2.3")
elif [[ $version == "$old" || $(printf '%s\n' "$version" "$old" | sort -V | head -n 1) == "$version" ]]; then
    mistakes+=("VERSION: $version is not newer than $old; take the next version")
fi
grep -q "^## ${version//./\\.} - " CHANGELOG.md && began=true || began=false
$began || grep -qzP '\n## Unreleased\n\s*[^#\s]' CHANGELOG.md || grep -qzP '\n## Unreleased\n\s*### ' CHANGELOG.md ||
    mistakes+=("CHANGELOG.md: has no text under 'Unreleased'; write what users notice there")
if ((${#mistakes[@]})); then
    printf '%s\n' "${mistakes[@]}" >&2
    exit 2
fi

{ git grep -lzP 'imageporter/imageporter:[0-9]+\.[0-9]+\.[0-9]+(?![\w.-])' -- ':!CHANGELOG.md' || true; } |
    xargs -0 --no-run-if-empty perl -pi -e "s#imageporter/imageporter:[0-9]+\\.[0-9]+\\.[0-9]+(?![\\w.-])#imageporter/imageporter:$version#g"
$began || sed -i "s/^## Unreleased$/## $version - $(date +%F)/" CHANGELOG.md
# Changed last: while it has the old version, an interrupted run can be repeated.
sed -i "s/^__version__ = \"[^\"]*\"/__version__ = \"$version\"/" imageporter/__init__.py
git --no-pager diff --stat
