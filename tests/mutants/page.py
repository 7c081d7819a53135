"""Mutants of the status page and of the notices."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_PAGE = "tests/unit/test_page.py"
_TROUBLE = "tests/unit/test_trouble.py"
_NOTIFY = "tests/integration/test_notify.py"
_PANORAMA = "tests/integration/test_panorama.py"
_ALIVE = ("tests/browser/test_page_alive.py::test_hostile_text_runs_nothing_and_the_page_lives_by_keyboard_and_script",)

PAGE = (
    Mutant(
        "remote text goes into the page as markup",
        (Replacement("monitor/page/markup.py", "html_escape(fits).encode()", "fits.encode()"),),
        (f"{_PAGE}::test_remote_text_adds_no_tag_no_attribute_and_no_invisible_character",),
    ),
    Mutant(
        "remote text may turn the line on the page",
        (Replacement("monitor/page/markup.py", "shown = escape(remote)", "shown = remote"),),
        (f"{_PAGE}::test_remote_text_adds_no_tag_no_attribute_and_no_invisible_character",),
    ),
    Mutant(
        "remote text may turn the line in plain text",
        (Replacement("monitor/page/text.py", "{escape(group.message)}", "{group.message}"),),
        (f"{_PAGE}::test_in_plain_text_nothing_moves_the_cursor_or_turns_the_line",),
    ),
    Mutant(
        "an error of the marketplace looks like a command to type",
        (Replacement("monitor/trouble.py", '.replace("`", "\'")', ""),),
        (f"{_PAGE}::test_remote_text_never_looks_like_a_command_to_type",),
    ),
    Mutant(
        "the page grows with the number of streams",
        (Replacement("monitor/page/streams.py", "MOST_STREAMS = 20", "MOST_STREAMS = 200"),),
        (f"{_PAGE}::test_the_page_stays_under_60_kb_however_much_there_is",),
    ),
    Mutant(
        "the page grows with what its texts are made of",
        (Replacement("monitor/page/markup.py", "> longest * room:", "> 9 * longest * room:"),),
        (f"{_PAGE}::test_signs_that_take_more_room_than_they_seem_to_keep_the_page_under_60_kb",),
    ),
    Mutant(
        "a sentence with control characters loses its end",
        (Replacement("monitor/trouble.py", "plain = escape(", "plain = ("),),
        (f"{_PAGE}::test_signs_that_take_more_room_than_they_seem_to_keep_the_page_under_60_kb",),
    ),
    Mutant(
        "ages are by the clock of the monitor's own host",
        (
            Replacement(
                "syncd/ledger/scrape.py", "return max((one.read_at for one in facts), default=0.0) or ", "return "
            ),
        ),
        ("tests/acceptance/test_monitor_commands.py::test_a_wrong_clock_of_the_monitors_own_host_makes_no_data_old",),
    ),
    Mutant(
        "what waits behind a webhook that hangs is told again and again",
        (Replacement("monitor/notify.py", "if message.key in self._keys:", "if False:"),),
        (f"{_NOTIFY}::test_what_waits_behind_a_webhook_that_hangs_is_told_once_however_often_it_is_overdue",),
    ),
    Mutant(
        "a notice that has failed is never sent again",
        (Replacement("monitor/notify.py", "            queue.end(message)\n", ""),),
        (f"{_NOTIFY}::test_what_was_refused_is_sent_when_it_is_overdue",),
    ),
    Mutant(
        "the page asks for news although nobody sees it",
        (Replacement("monitor/page/page.js", "if (paused || document.hidden) return;", "if (paused) return;"),),
        _ALIVE,
    ),
    Mutant(
        "the page forgets the focus when it is fresh",
        (Replacement("monitor/page/page.js", "if (focused) document", "if (false) document"),),
        _ALIVE,
    ),
    Mutant(
        "no daemon is said of a stream that somebody has paused",
        (
            Replacement(
                "monitor/trouble.py", "and outlook.paused is None and not one.is_moving", "and not one.is_moving"
            ),
        ),
        (f"{_TROUBLE}::test_no_daemon_is_never_said_on_a_guess",),
    ),
    Mutant(
        "no daemon is said because none runs on the monitor's own machine",
        (Replacement("monitor/trouble.py", "and pair[1].owner_host == around.host]", "]"),),
        (f"{_TROUBLE}::test_no_daemon_is_never_said_on_a_guess",),
    ),
    Mutant(
        "each process tells everything anew",
        (
            Replacement(
                "syncd/ledger/notices.py",
                "[replace(one, made_at=new[one.key]) for one in notices if one.key in new]",
                "list(notices)",
            ),
        ),
        (f"{_NOTIFY}::test_a_failure_and_the_recovery_are_told_once_over_restarts_and_by_two",),
    ),
    Mutant(
        "what a dead process had noted is never sent",
        (
            Replacement(
                "syncd/ledger/notices.py", "WHERE sent_at IS NULL AND claimed_at <", "WHERE false AND claimed_at <"
            ),
        ),
        (f"{_NOTIFY}::test_what_nobody_sent_is_sent_by_the_next_process",),
    ),
    Mutant(
        "old runs are told as news",
        (
            Replacement(
                "syncd/ledger/notices.py",
                "WHERE happened_at IS NULL OR happened_at > clock_timestamp() - make_interval(secs => %(news)s)",
                "WHERE %(news)s IS NOT NULL",
            ),
        ),
        (f"{_NOTIFY}::test_old_runs_are_no_news",),
    ),
    Mutant(
        "the queue of notices has no bound",
        (Replacement("monitor/notify.py", "if len(self._waiting) >= MOST_WAITING:", "if len(self._waiting) < 0:"),),
        (f"{_NOTIFY}::test_a_webhook_that_hangs_delays_no_ping_and_its_queue_is_bounded",),
    ),
    Mutant(
        "a failed notice is logged with its error's text",
        (Replacement("monitor/notify.py", "why = type(error).__name__", "why = str(error) + url"),),
        (f"{_NOTIFY}::test_a_redirect_is_not_followed_and_no_line_of_the_log_holds_the_url",),
    ),
    Mutant(
        "notices follow redirects",
        (Replacement("monitor/notify.py", "allow_redirects=False", "allow_redirects=True"),),
        (f"{_NOTIFY}::test_a_redirect_is_not_followed_and_no_line_of_the_log_holds_the_url",),
    ),
    Mutant(
        "what changed most reads every change of a run",
        (
            Replacement(
                "syncd/ledger/jumps.py", "WHERE run_id = r.id LIMIT {MOST_CHANGES}) c)", "WHERE run_id = r.id) c)"
            ),
        ),
        (f"{_PANORAMA}::test_a_run_with_very_many_changes_is_read_no_further_than_it_must",),
    ),
    Mutant(
        "a plan counts as a run of its day",
        (
            Replacement(
                "syncd/ledger/migrations/versions/0005_monitor.sql",
                "AND NEW.completed_at IS NOT NULL AND NOT NEW.dry_run)",
                "AND NEW.completed_at IS NOT NULL)",
            ),
        ),
        (f"{_PANORAMA}::test_the_days_count_each_run_once_when_it_ends_and_outlive_it",),
    ),
)
