# shellcheck shell=bash disable=SC2034
# Releases: /opt/syncd/releases/NAME, each a virtual environment with everything in it, and the links current and
# previous. A release is never changed once it is whole, which its file .source says.

KEPT_RELEASES=3

source_digest() { # what the release is made of
  (cd "$SOURCE" && find syncd monitor deploy setup.cfg pyproject.toml ./*.md LICENSE docs deploy_sync_system.sh \
    -type f ! -name '*.pyc' ! -path '*.egg-info*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64)
}

find_release() { # sets RELEASE, the folder for this source; another source of the same version gets a name of its own
  local digest made
  digest=$(source_digest)
  RELEASE=$PREFIX/releases/$VERSION
  made=$(cat "$RELEASE/.source" 2>/dev/null || true)
  # the one of that name may be deleted by now, and this source have the longer name nevertheless
  if [[ ${made:-$digest} != "$digest" || -f $RELEASE-${digest:0:8}/.source ]]; then
    RELEASE=$RELEASE-${digest:0:8}
  fi
  SOURCE_DIGEST=$digest
}

build_release() {
  [[ ! -f $RELEASE/.source ]] || return 0
  changed "build $RELEASE"
  [[ -z $DRY_RUN ]] || return 0
  rm -rf "$RELEASE" # what an interrupted one left
  mkdir -p "$RELEASE"
  chmod 0755 "$PREFIX" "$PREFIX/releases" "$RELEASE"
  if ! (umask 022 && fill_release); then
    rm -rf "$RELEASE"
    fail "$EXIT_FAILED" "$RELEASE could not be built; nothing else was changed. More in $LOG"
  fi
}

fill_release() {
  local work
  work=$(mktemp -d)
  quietly /usr/bin/python3 -I -m venv "$RELEASE" &&
    pip_install --require-hashes --no-deps -r "$SOURCE/deploy/build.lock" &&
    pip_install --require-hashes --no-deps --no-binary sdnotify --no-build-isolation --use-pep517 \
      -r "$SOURCE/deploy/requirements.lock" &&
    copy_source "$work/source" && # setuptools leaves its traces where it builds
    pip_install --no-deps --no-index --no-build-isolation "$work/source" &&
    quietly "$RELEASE/bin/python" -I -m compileall -q -j 0 "$RELEASE/lib" &&
    quietly "$RELEASE/bin/syncd" --version &&
    copy_share "$RELEASE/share" &&
    chmod -R go-w "$RELEASE" &&
    echo "$SOURCE_DIGEST" >"$RELEASE/.source"
  local code=$?
  rm -rf "$work"
  return "$code"
}

pip_install() {
  local -a from=(--only-binary ':all:')
  [[ -z $OFFLINE ]] || from+=(--no-index --find-links "$OFFLINE")
  [[ " $* " != *" --no-index "* ]] || from=()
  quietly env PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    "$RELEASE/bin/python" -I -m pip install --quiet --no-input --no-compile "${from[@]}" "$@"
}

copy_source() { # TARGET
  mkdir -p "$1"
  (cd "$SOURCE" && tar --create --exclude=__pycache__ --exclude='*.egg-info' syncd monitor setup.cfg pyproject.toml README.md LICENSE) |
    tar --extract --no-same-owner --directory "$1"
}

copy_share() { # TARGET: papers, units, rules, dashboards and this script: what the catalog and the alerts point to, and
  # what it takes to go back to a release without its source
  mkdir -p "$1"
  (cd "$SOURCE" && tar --create --exclude=__pycache__ ./*.md LICENSE docs deploy deploy_sync_system.sh syncd/__init__.py) |
    tar --extract --no-same-owner --directory "$1"
  ln -s deploy/systemd/drop-ins "$1/drop-ins"
}

download_wheels() { # FOLDER: everything that --offline needs, for this machine's kind
  local work
  work=$(mktemp -d)
  umask 022
  mkdir -p "$1"
  local -a fetch=("$work/bin/python" -I -m pip download --quiet --no-input --disable-pip-version-check --require-hashes
    --no-deps --only-binary ':all:' --dest "$1")
  quietly /usr/bin/python3 -I -m venv "$work" &&
    quietly "${fetch[@]}" -r "$SOURCE/deploy/build.lock" &&
    quietly "$work/bin/python" -I -m pip install --quiet --no-index --find-links "$1" --require-hashes -r "$SOURCE/deploy/build.lock" &&
    quietly "${fetch[@]}" --no-binary sdnotify --no-build-isolation -r "$SOURCE/deploy/requirements.lock"
  local code=$?
  rm -rf "$work"
  return "$code"
}

link_to() { # NAME TARGET: a link that is never missing in between
  ln -sfn "$2" "$PREFIX/.$1.new"
  mv -T "$PREFIX/.$1.new" "$PREFIX/$1"
}

current_release() { readlink -f "$PREFIX/$1" 2>/dev/null || true; } # current | previous

note_served() { # current was seen to serve
  local current
  current=$(current_release current)
  [[ $(cat "$PREFIX/.served" 2>/dev/null) == "$current" ]] || echo "$current" >"$PREFIX/.served"
}

switch_to() { # RELEASE; sets IS_SWITCHED
  local before
  before=$(current_release current)
  if [[ $before == "$1" ]]; then # one that was killed had switched to it, and nobody has seen it serve yet
    [[ ! -d $(current_release previous) || $(cat "$PREFIX/.served" 2>/dev/null) == "$1" ]] || IS_SWITCHED=yes
    return 0
  fi
  IS_SWITCHED=yes
  changed "let current point to $1"
  [[ -z $DRY_RUN ]] || return 0
  [[ ! -d $before ]] || link_to previous "releases/${before##*/}"
  link_to current "releases/${1##*/}"
}

prune_releases() { # the newest few stay, and those in use
  local release kept=0
  [[ -d $PREFIX/releases ]] || return 0
  while read -r release; do
    kept=$((kept + 1))
    ((kept > KEPT_RELEASES)) || continue
    [[ $release != "$(current_release current)" && $release != "$(current_release previous)" ]] || continue
    change "delete old release $release" rm -rf "$release"
  done < <(find "$PREFIX/releases" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2-)
}
