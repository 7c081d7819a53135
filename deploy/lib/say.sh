# shellcheck shell=bash
# What a run says, keeps in its log, and counts; and how anything at all is changed.
#
# Every change goes through `change` or `put`: with --dry-run they say what they would do, and do nothing.

LOG=/var/log/syncd-deploy.log
LOCK=/run/syncd-deploy.lock # not in /run/lock, where everybody may be first
CHANGED=0

say() { # for people, and the log
  printf '%s\n' "$*"
  note "$*"
}

note() { # for the log only
  [[ -n $DRY_RUN ]] || printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >>"$LOG"
}

complain() {
  printf 'deploy_sync_system: %s\n' "$*" >&2
  note "$*"
}

fail() { # CODE TEXT...
  local code=$1
  shift
  complain "$*"
  exit "$code"
}

changed() { # TEXT: what was, or would be, changed
  CHANGED=$((CHANGED + 1))
  say "  ${DRY_RUN:+would }$*"
}

say_count() { say "$CHANGED ${DRY_RUN:+would be }changed"; }

quietly() { # COMMAND...: its output goes to the log, and to the terminal where it fails
  local output code=0
  output=$("$@" 2>&1 9>&-) || code=$?
  [[ -z $output ]] || note "$output"
  ((code == 0)) || printf '%s\n' "$output" | tail -n 20 >&2
  return "$code"
}

change() { # TEXT COMMAND...
  changed "$1"
  shift
  [[ -z $DRY_RUN ]] || { say "    $*"; return 0; }
  quietly "$@"
}

put() { # TARGET MODE OWNER:GROUP, content on standard input
  local target=$1 mode=$2 owner=$3 new
  new=$(cat; echo x)
  new=${new%x}
  if [[ -f $target && $(cat "$target"; echo x) == "${new}x" ]]; then
    set_access "$target" "$mode" "$owner"
    return 0
  fi
  changed "write $target"
  if [[ -n $DRY_RUN ]]; then
    [[ $target == */credentials/* ]] || printf '%s' "$new" | diff -uN "$target" - 2>/dev/null | sed 's/^/    /' || true
    return 0
  fi
  mkdir -p "${target%/*}"
  (umask 077 && printf '%s' "$new" >"$target.new")
  chown "$owner" "$target.new"
  chmod "$mode" "$target.new"
  mv "$target.new" "$target"
}

set_access() { # PATH MODE OWNER:GROUP
  local now
  now=$(stat -L -c '%04a %U:%G' "$1" 2>/dev/null) || return 0
  [[ $now != "$2 $3" ]] || return 0
  changed "make $1 $2 $3 (was $now)"
  [[ -z $DRY_RUN ]] || return 0
  chown "$3" "$1"
  chmod "$2" "$1"
}

take_lock() {
  exec 9>>"$LOCK"
  flock --nonblock 9 || fail "$EXIT_BUSY" "another one is at work ($LOCK)"
}

open_log() {
  [[ -z $DRY_RUN ]] || return 0
  [[ -e $LOG ]] || (umask 027 && : >"$LOG")
  note "---- $* (version $VERSION)"
}

as_service() { # COMMAND...: as the service's user, with nothing of root's environment
  as_user syncd /var/lib/syncd "$@"
}

as_user() { # USER HOME COMMAND...
  local user=$1 home=$2
  shift 2
  (cd / && setpriv --reuid "$user" --regid "$(id -gn "$user")" --init-groups --inh-caps=-all \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME="$home" "$@" 9>&-)
}
