#!/usr/bin/env bash
# Checks that this tree is the release VERSION, builds its image, and tags the commit. It pushes nothing: the last lines say how.
# CHECKS are the goals of make that must succeed first; IMAGES is the repository of the image.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-}
checks=${CHECKS-check test audit}
images=${IMAGES:-imageporter/imageporter}
ours=$(sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' imageporter/__init__.py)
mistakes=()

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || mistakes+=("VERSION: '$version' is not a version; write three numbers, like 1.2.3")
[[ $version == "$ours" ]] || mistakes+=("imageporter/__init__.py: the version is $ours; run \`make bump VERSION=$version\`, and commit")
grep -qE "^## ${version//./\\.} - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
    mistakes+=("CHANGELOG.md: has no section '$version - DATE'; run \`make bump VERSION=$version\`, and commit")
[[ $(git branch --show-current) == main ]] || mistakes+=("git: the branch is '$(git branch --show-current)'; check out main")
[[ -z $(git status --porcelain) ]] || mistakes+=("git: there are changes; commit or remove them")
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || mistakes+=("git: the tag v$version exists; take the next version")
if ((${#mistakes[@]})); then
    printf '%s\n' "${mistakes[@]}" >&2
    exit 2
fi

[[ -z $checks ]] || make $checks
make image IMAGE="$images:$version"
[[ $(docker run --rm "$images:$version" --version) == "ImagePorter $version" ]]
tags=("$version" "${version%.*}" "${version%%.*}" latest)
for tag in "${tags[@]:1}"; do
    docker tag "$images:$version" "$images:$tag"
done
git tag --annotate "v$version" --message "ImagePorter $version"

cat <<END
The image $images:$version is built for this platform, and the commit has the tag v$version. To publish both:
  git push origin main v$version
  docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$version$(printf " --tag $images:%s" "${tags[@]}") --push .
END
