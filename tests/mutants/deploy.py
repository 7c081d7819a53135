"""Mutants of the installer, the units and the terms of the schema."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_SCHEMA = "tests/integration/test_schema.py"
_INSTALL, _OPERATE, _UPGRADE = (f"tests/deploy/test_{name}.py" for name in ("1_install", "2_operate", "3_upgrade"))
_TERMS = "return match is not None and match[1] == version and match[2] <= SCHEMA_VERSION"
_SHIPPED = "tests/observe/test_shipped.py"
_STUCK = "is stuck\nDefined-By: syncd\nSupport: file:///opt/syncd/current/share/README.md\nDocumentation: file:///opt"
_UNIT = "deploy/systemd/syncd.service"

DEPLOY = (
    Mutant(
        "a newer schema is worked with, whatever its terms",
        (Replacement("syncd/ledger/schema.py", _TERMS, "return match is not None"),),
        (f"{_SCHEMA}::test_a_newer_schema_that_does_not_name_us_is_refused",),
    ),
    Mutant(
        "after an upgrade of the schema there is no way back",
        (Replacement("syncd/ledger/schema.py", _TERMS, "return match is None"),),
        (f"{_SCHEMA}::test_a_newer_schema_that_only_added_is_worked_with_and_left_as_it_is",),
    ),
    Mutant(
        "a dry run does what it shows",
        (Replacement("deploy/lib/say.sh", '{ say "    $*"; return 0; }', 'say "    $*"'),),
        (f"{_INSTALL}::test_a_dry_run_shows_everything_and_changes_nothing",),
    ),
    Mutant(
        "a second run restarts what did not change",
        (Replacement("deploy_sync_system.sh", "((CHANGED == before)) || restart=always", "restart=always"),),
        (f"{_INSTALL}::test_a_second_run_changes_nothing_and_restarts_nothing",),
    ),
    Mutant(
        "a crash of long ago makes the next run fail",
        (
            Replacement(
                "deploy/lib/units.sh",
                'for unit in "${STARTED[@]}"; do\n    [[ $(systemctl show -P NRestarts',
                'for unit in "${SERVICES[@]}"; do\n    [[ $(systemctl show -P NRestarts',
            ),
        ),
        (f"{_INSTALL}::test_services_that_are_well_are_left_alone_whatever_they_went_through",),
    ),
    Mutant(
        "modules that lie where root stands are run",
        (Replacement("deploy/lib/preflight.sh", "-I -c 'import venv;", "-c 'import venv;"),),
        (f"{_INSTALL}::test_a_program_that_lies_where_somebody_stands_is_not_run",),
    ),
    Mutant(
        "a unit that is a link is not seen",
        (Replacement("deploy/lib/preflight.sh", "[[ -e $dir/$1 || -L $dir/$1 ]]", "[[ -f $dir/$1 && ! -L $dir/$1 ]]"),),
        (f"{_INSTALL}::test_a_unit_that_is_a_link_is_somebodys_too",),
    ),
    Mutant(
        "wheels from a folder that others may write are taken",
        (Replacement("deploy/lib/preflight.sh", "-perm /022 \\) -print", "-perm /000 \\) -false"),),
        (f"{_INSTALL}::test_the_preflight_says_all_it_found_at_once_and_changes_nothing",),
    ),
    Mutant(
        "a release that does not become ready stays",
        (Replacement("deploy_sync_system.sh", "[[ -n $IS_SWITCHED ]] && go_back", ":"),),
        (f"{_UPGRADE}::test_a_release_that_never_becomes_ready_is_taken_back_although_it_migrated",),
    ),
    Mutant(
        "a wrong configuration is tried again and again",
        (Replacement(_UNIT, "RestartPreventExitStatus=78", "RestartPreventExitStatus=79"),),
        (f"{_OPERATE}::test_a_wrong_configuration_is_no_reason_to_start_again_and_again",),
    ),
    Mutant(
        "the daemon may write anywhere",
        (Replacement(_UNIT, "ProtectSystem=strict", "ProtectSystem=no"),),
        (f"{_OPERATE}::test_the_hardening_really_blocks",),
    ),
    Mutant(
        "a release goes without its papers",
        (Replacement("deploy/lib/release.sh", "LICENSE docs deploy deploy_sync_system.sh", "LICENSE deploy"),),
        (f"{_SHIPPED}::test_every_alert_and_every_dashboard_leads_to_a_page",),
    ),
    Mutant(
        "the journal's explanation of a stuck run leads nowhere",
        (Replacement("deploy/systemd/syncd.catalog", _STUCK, _STUCK.replace("///opt", "///srv")),),
        (f"{_SHIPPED}::test_every_entry_of_the_catalog_leads_to_a_page",),
    ),
)
