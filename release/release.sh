#!/usr/bin/env bash
# Checks that this tree is the release VERSION, builds its image, and tags the commit. It pushes nothing: the last lines say how.
# CHECKS are the goals of make that must succeed first; IMAGES is the repository of the image.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-}
checks=${CHECKS-check site test audit}
images=${IMAGES:-imageporter/imageporter}
number='(0|[1-9][0-9]*)'
mistakes=()

changes() { git status --porcelain --untracked-files=all; }

ours=$(sed -n 's/^__version__ = "\([^"]*\)".*/\1/p' imageporter/__init__.py)
[[ $version =~ ^$number\.$number\.$number$ ]] || mistakes+=("VERSION: '$version' is not a version; write three numbers, like 1.2.3")
[[ $version == "$ours" ]] || mistakes+=("imageporter/__init__.py: the version is $ours; run \`make bump VERSION=$version\`, and commit")
grep -qE "^## ${version//./\\.} - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
    mistakes+=("CHANGELOG.md: has no section '$version - DATE'; run \`make bump VERSION=$version\`, and commit")
[[ $(git branch --show-current) == main ]] || mistakes+=("git: the branch is '$(git branch --show-current)'; check out main")
[[ -z $(changes) ]] || mistakes+=("git: there are changes; commit or remove them")
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || mistakes+=("git: the tag v$version exists; take the next version")
git var GIT_COMMITTER_IDENT >/dev/null 2>&1 || mistakes+=("git: it does not know who you are; set user.name and user.email")
docker info >/dev/null 2>&1 || mistakes+=("docker: no engine answers; start one, or set DOCKER_HOST")
if ((${#mistakes[@]})); then
    printf '%s\n' "${mistakes[@]}" >&2
    exit 2
fi
commit=$(git rev-parse HEAD)

# make hands its command line down in MAKEFLAGS, and a test of the checks makes a release of its own.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS
[[ -z $checks ]] || env -u CHECKS -u IMAGES -u VERSION make $checks PYTEST=--no-skips
make image IMAGE="$images:$version"
says=$(docker run --rm "$images:$version" --version) || { echo "docker: the image $images:$version does not run" >&2; exit 1; }
[[ $says == "ImagePorter $version" ]] || { echo "docker: the image $images:$version says '$says'" >&2; exit 1; }
[[ -z $(changes) && $(git rev-parse HEAD) == "$commit" ]] ||
    { echo "git: the tree has changed since the checks began; run this again" >&2; exit 1; }
git tag --annotate "v$version" --message "ImagePorter $version" "$commit"
tags=("$version" "${version%.*}" "${version%%.*}" latest)
for tag in "${tags[@]:1}"; do
    docker tag "$images:$version" "$images:$tag"
done

cat <<END
The image $images:$version is built for this platform, and the commit has the tag v$version. To publish both:
  git push origin main v$version
  git archive v$version | docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$version$(printf " --tag $images:%s" "${tags[@]}") --push -
END
