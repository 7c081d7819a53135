#!/usr/bin/env bash
# Installs syncd and its monitor on a Debian or Ubuntu server, upgrades them, goes back, and removes them.
#
#   deploy_sync_system.sh [options]        install, or upgrade to this source tree; again: changes what is to be changed
#     --local-postgres                     set up Debian's PostgreSQL, with peer login, where no database is named
#     --database-url-file FILE             the database's URL, for the credential database-url
#     --username NAME                      the account main of the marketplace
#     --password-file FILE                 its password; - asks for it
#     --base-url URL                       its API, where it is not eMAG's Romanian one
#     --offline FOLDER                     install from the wheels there, which --download fetched
#     --replace-old                        stop and replace units of our names that are not ours; a copy is kept
#     --ready-seconds N                    how long a service may take to become ready [60]
#     --dry-run                            change nothing, show everything (for every command here)
#   deploy_sync_system.sh --download FOLDER   fetch the wheels for --offline, on a machine of the same kind
#   deploy_sync_system.sh --rollback       back to the release before
#   deploy_sync_system.sh --uninstall      remove the program; configuration, data, user and database stay
#   deploy_sync_system.sh --purge [--yes] [--drop-database]   remove those, too; the database only where that is said
#
# Exit codes: 0 done; 1 not done, what served before serves on; 2 usage; 3 the new release did not become ready and the
# one before serves again; 4 done, but `syncd check` finds something outside of the installation; 5 nothing serves;
# 75 another one is at work; 78 the preflight found something, and nothing was changed. Log: /var/log/syncd-deploy.log
# shellcheck disable=SC2034  # most variables are read by the parts in deploy/lib
set -Eeuo pipefail
PATH=$PATH:/usr/sbin:/sbin   # `su` without a dash leaves them out
shopt -s inherit_errexit lastpipe # lastpipe: what stands last in a pipe counts its changes here, not in a subshell

EXIT_FAILED=1 EXIT_USAGE=2 EXIT_ROLLED_BACK=3 EXIT_OUTSIDE=4 EXIT_NOTHING_SERVES=5 EXIT_BUSY=75 EXIT_PREFLIGHT=78
SOURCE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
PREFIX=/opt/syncd
ETC=/etc/syncd
LIB=/usr/local/lib
UNITS=(syncd.service sync-monitor.service)
VERSION=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$SOURCE/syncd/__init__.py")
DO=install DRY_RUN='' OFFLINE='' LOCAL_POSTGRES='' DATABASE_URL_FILE='' USERNAME='' PASSWORD_FILE='' BASE_URL=''
REPLACE_OLD='' YES='' DROP_DATABASE='' READY_SECONDS=60 IS_SWITCHED='' RELEASE='' SOURCE_DIGEST='' FOLDER=''

for part in say preflight release config database units remove; do
  # shellcheck source=/dev/null
  source "$SOURCE/deploy/lib/$part.sh"
done

usage() { sed -n '2,/^set -/p' "$SOURCE/deploy_sync_system.sh" | sed -n 's/^# \{0,1\}//p'; }

read_options() {
  while (($#)); do
    case $1 in --download | --offline | --database-url-file | --username | --password-file | --base-url)
      [[ -n ${2:-} ]] || fail_usage "$1 wants a value" ;;
    esac
    case $1 in
      --dry-run) DRY_RUN=yes ;;
      --local-postgres) LOCAL_POSTGRES=yes ;;
      --replace-old) REPLACE_OLD=yes ;;
      --yes) YES=yes ;;
      --drop-database) DROP_DATABASE=yes ;;
      --rollback | --uninstall | --purge) DO=${1#--} ;;
      --download) DO=download FOLDER=${2:-} && shift ;;
      --offline) OFFLINE=${2:-} && shift ;;
      --database-url-file) DATABASE_URL_FILE=${2:-} && shift ;;
      --username) USERNAME=${2:-} && shift ;;
      --password-file) PASSWORD_FILE=${2:-} && shift ;;
      --base-url) BASE_URL=${2:-} && shift ;;
      --ready-seconds) READY_SECONDS=${2:-} && shift ;;
      -h | --help) usage && exit 0 ;;
      *) fail_usage "there is no $1" ;;
    esac
    shift || fail_usage "the last option wants a value"
  done
  [[ $READY_SECONDS =~ ^[1-9][0-9]*$ ]] || fail_usage "--ready-seconds: found $READY_SECONDS, expected a whole number"
  [[ -z $BASE_URL || $BASE_URL =~ ^https?://[][A-Za-z0-9._:/~-]+$ ]] || fail_usage "--base-url: expected https://host/path"
  [[ $DATABASE_URL_FILE != - ]] || fail_usage "--database-url-file wants a file"
  [[ $DO != download || -n $FOLDER ]] || fail_usage "--download wants a folder"
}

fail_usage() {
  usage >&2
  printf '\ndeploy_sync_system: %s\n' "$*" >&2
  exit "$EXIT_USAGE"
}

install_all() {
  preflight
  find_release
  say "syncd $VERSION ($RELEASE)"
  replace_old_units
  install_user
  local_postgres
  install_config
  local before=$CHANGED
  install_credentials
  build_release
  migrate
  switch_to "$RELEASE"
  install_units "$SOURCE/deploy/systemd"
  enable_units
  local restart=''
  ((CHANGED == before)) || restart=always
  if ! start_services "$restart" || ! verify; then
    [[ -n $IS_SWITCHED ]] && go_back
    fail "$EXIT_NOTHING_SERVES" "it is installed and not well. After mending it: the same command again"
  fi
  prune_releases
  say_count
  verify_outside || fail "$EXIT_OUTSIDE" "it is installed and serves, but something outside of it is to be mended"
}

go_back() { # after a switch: to the release before, and out
  local previous
  previous=$(current_release previous)
  [[ -d $previous ]] || return 0
  complain "going back to $previous"
  local failed
  failed=$(current_release current)
  link_to current "releases/${previous##*/}"
  rm -f "$PREFIX/previous" # what failed is nothing to go back to
  SOURCE=$previous/share install_units "$previous/share/deploy/systemd"
  if start_services always && verify; then
    fail "$EXIT_ROLLED_BACK" "$previous serves again; $failed did not become ready, for the reason above"
  fi
  fail "$EXIT_NOTHING_SERVES" "$previous did not become ready either"
}

rollback() { # by hand
  local previous
  previous=$(current_release previous)
  [[ -d $previous && $previous != "$(current_release current)" ]] || fail "$EXIT_FAILED" "there is no release to go back to"
  switch_to "$previous"
  install_units "$previous/share/deploy/systemd"
  if ! start_services always || ! verify; then
    fail "$EXIT_NOTHING_SERVES" "$previous did not become ready; forward again: --rollback"
  fi
  say "$previous serves"
}

# shellcheck disable=SC2329  # the traps call it
give_up() { # TEXT: what served before a switch serves again
  trap - ERR
  trap '' INT TERM HUP
  complain "$1"
  ((BASH_SUBSHELL > 0)) || [[ -z $IS_SWITCHED || -n $DRY_RUN ]] || go_back
  exit "$EXIT_FAILED"
}

main() {
  read_options "$@"
  if [[ $DO == download ]]; then
    [[ -z $DRY_RUN ]] || { printf 'would fetch the wheels into %s\n' "$FOLDER"; exit 0; }
    DRY_RUN=yes # no log: this needs no root
    download_wheels "$FOLDER" && say "wheels for --offline: $FOLDER" && exit 0
    exit "$EXIT_FAILED"
  fi
  if ((EUID != 0)); then # nothing else can be looked at without it
    printf 'deploy_sync_system: this needs root\n' >&2
    exit "$EXIT_PREFLIGHT"
  fi
  umask 022
  trap 'give_up "$BASH_COMMAND failed (line $LINENO of ${BASH_SOURCE[0]##*/}); more in $LOG"' ERR
  trap 'give_up interrupted' INT TERM HUP
  take_lock
  open_log "$@"
  case $DO in
    install) install_all ;;
    rollback) rollback ;;
    uninstall) uninstall; say_count; say_what_stays ;;
    purge) purge ;;
  esac
}

main "$@"
exit
