"""What the bench makes of measured values: ratios, bars, latencies, table, comparison."""

import io
import re

import msgspec
import numpy as np
import pytest

from tools.bench import market, scale, suite
from tools.bench.figure import Figure, Options, figure, number
from tools.bench.pace import latencies_us
from tools.bench.stamps import COUNT, NUMBER, Stamps


def test_a_ratio_is_the_cost_over_the_floor_whichever_way_is_better() -> None:
    slower = figure("b", "time", "µs", [30.0, 20.0, 90.0], floor=[10.0, 15.0, 20.0], most_ratio=1.3)
    assert (slower.value, slower.low, slower.high, slower.floor, slower.ratio) == (30.0, 20.0, 90.0, 15.0, 2.0)
    assert (slower.bar, slower.reached) == ("within 1.3x", False)
    fewer = figure("b", "rate", "/s", [50.0], floor=[100.0], more_is_better=True, least=50.0)
    assert (fewer.ratio, fewer.reached) == (2.0, True)


@pytest.mark.parametrize(("value", "reached"), [(6.5, True), (6.51, False)])
def test_a_bar_is_reached_at_its_value(value: float, reached: bool) -> None:
    assert figure("b", "n", "ns", [value], most=6.5).reached is reached
    assert figure("b", "n", "ns", [-value], least=-6.5).reached is reached


@pytest.mark.parametrize(("lost", "verdict"), [(0.0, "ok"), (1.0, "missed")])
def test_what_must_never_happen_has_a_bar_of_nothing(lost: float, verdict: str) -> None:
    found = figure("scale", "updates lost", "records", [lost], most=0.0)
    assert (found.bar, suite.verdict(found), found.never) == ("at most 0 records", verdict, True)
    assert re.search(rf" {lost:g} records .* at most 0 records +{verdict} +updates lost$", suite.table([found])[1])
    assert not figure("b", "n", "ns", [lost], most=6.5).never and not figure("b", "n", "ns", [lost]).never


def test_one_round_of_three_that_lost_something_is_enough() -> None:
    found = figure("feeder_load", "trades missing", "trades", [0, 700, 0], most=0)
    assert (found.value, found.low, found.high, found.reached) == (700, 0, 700, False)


def test_a_figure_without_a_bar_has_no_verdict() -> None:
    assert figure("b", "n", "ns", [1.0]).reached is None
    assert suite.verdict(figure("b", "n", "ns", [1.0])) == ""


def test_each_record_of_a_frame_has_the_latency_of_its_frame() -> None:
    numbers = np.array([[10, 2], [12, 3], [15, 1]])
    sent_ns = np.array([1_000, 2_000, 9_000])
    decided = np.array([[11, 5_000], [12, 6_000], [20, 12_000]])  # the second frame was only done with the third stamp
    assert latencies_us(numbers, sent_ns, decided).tolist() == [4.0, 4.0, 10.0, 10.0, 10.0, 3.0]


def test_a_record_that_nobody_decided_on_is_no_latency() -> None:
    with pytest.raises(ValueError, match="up to 12"):
        latencies_us(np.array([[10, 3]]), np.array([0]), np.array([[11, 5_000]]))


def test_stamps_are_seen_by_another_reader(tmp_path) -> None:
    ours = Stamps(tmp_path / "stamps", create=True)
    theirs = Stamps(tmp_path / "stamps")
    assert theirs.words[NUMBER] == -1
    ours.add(7, 70)
    ours.add(9, 90)
    assert (theirs.words[COUNT], theirs.words[NUMBER]) == (2, 9)
    assert theirs.pairs().tolist() == [[7, 70], [9, 90]]
    ours.close()
    theirs.close()


def test_trades_are_plausible_and_leave_the_strategy_nothing_to_do() -> None:
    times = 1_700_000_000_000_000_000 + np.arange(200_000) * 1_000_000
    records = market.trades(times)
    assert np.abs(records["price"] - market.BASE).max() <= market.LEVEL + market.NOISE
    assert (records["ticks"] == np.round(records["price"] / market.TICK)).all()
    assert (records["lots"] == np.round(records["quantity"] / market.STEP)).all()
    assert (np.diff(records["exchange_ns"]) > 0).all()


def figures_of(*values: float) -> list[Figure]:
    return [figure("hops", f"f{place}", "µs", [value], most=10.0) for place, value in enumerate(values)]


def test_the_table_says_which_bar_was_missed() -> None:
    lines = suite.table([*figures_of(5.0, 50.0), figure("hops", "g", "MB", [1.0], floor=[2.0], floor_of="bare")])
    assert re.search(r"5 µs .* at most 10\.0 µs +ok +f0$", lines[1])
    assert re.search(r"50\.0 µs .* at most 10\.0 µs +missed +f1$", lines[2])
    assert re.search(r"^ +0\.50x +1 MB .* 2 +g \(floor: bare\)$", lines[3])


def test_a_bench_that_fails_is_told_and_the_others_go_on() -> None:
    def broken(options: Options) -> list[Figure]:
        raise RuntimeError("3 records were lost")

    out = io.StringIO()
    benches = {"hops": broken, "burst": lambda options: figures_of(50.0)}
    report = suite.run(["hops", "burst"], Options(), out, benches.__getitem__)
    assert report.failed == {"hops": "RuntimeError: 3 records were lost"}
    assert [item.value for item in report.figures] == [50.0]
    assert "could not be measured: RuntimeError: 3 records were lost" in out.getvalue()
    assert "0 of 1 bars reached" in suite.summary(report) and "missed: hops: f0" in suite.summary(report)


def report_of(*figures: Figure) -> suite.Report:
    """A run's report as another run reads it back from its JSON."""
    found = suite.run(["hops"], Options(), io.StringIO(), lambda name: lambda options: list(figures))
    return msgspec.json.decode(msgspec.json.encode(found), type=suite.Report)


def lost_of(records: float) -> Figure:
    return figure("scale", "updates lost", "records", [records], most=0.0)


def test_an_update_that_came_twice_does_not_hide_a_gap() -> None:
    assert scale.astray(100, 100, 0) == 0
    assert scale.astray(100, 97, 0) == 3
    assert scale.astray(100, 101, 1) == 2


def test_the_ratio_is_told_of_the_floor_before_and_after() -> None:
    assert scale.told_of(6.0, [0.5, 0.75]) == "floor before and after: 0.5 (12.00x) and 0.75 (8.00x)"


def test_losses_end_with_1_and_a_bar_of_speed_that_was_missed_does_not() -> None:
    assert suite.exit_code(report_of(*figures_of(50.0), lost_of(0.0))) == 0
    lossy = report_of(*figures_of(5.0), lost_of(500.0))
    assert suite.exit_code(lossy) == 1
    assert suite.summary(lossy) == "1 of 2 bars reached\n  must never happen: scale: updates lost: 500 records"
    failed = report_of()
    failed.failed["hops"] = "TimeoutError: nothing moves"
    assert suite.exit_code(failed) == 1


def test_two_runs_are_compared_figure_by_figure() -> None:
    lines = suite.compared(report_of(*figures_of(10.0)), report_of(*figures_of(5.0)))
    assert len(lines) == 3
    assert re.search(r"0\.50x +10\.0 +5 .* hops: f0 \(µs\)$", lines[2])


def test_what_was_nothing_before_is_told_with_both_values() -> None:
    lines = suite.compared(report_of(lost_of(0.0)), report_of(lost_of(500.0)))
    assert re.fullmatch(r" +0 +500 +scale: updates lost \(records\)", lines[2])
    lines = suite.compared(report_of(lost_of(500.0)), report_of(lost_of(0.0)))
    assert re.fullmatch(r" +0\.00x +500 +0 +scale: updates lost \(records\)", lines[2])
    lines = suite.compared(report_of(lost_of(0.0)), report_of(lost_of(0.0)))
    assert re.fullmatch(r" +0 +0 +scale: updates lost \(records\)", lines[2])


def test_a_slope_that_turned_has_no_part_of_before() -> None:
    lines = suite.compared(report_of(*figures_of(-0.5)), report_of(*figures_of(1.5)))
    assert re.fullmatch(r" +-0\.5 +1\.5 +hops: f0 \(µs\)", lines[2])


def test_what_only_one_of_two_runs_has_is_named() -> None:
    more = [figure("hops", name, "µs", [value], floor=[2.0]) for name, value in (("p50", 5.0), ("p99", 7.0))]
    other_unit = figure("hops", "p50", "ms", [0.005])
    lines = suite.compared(report_of(*figures_of(10.0), other_unit), report_of(*figures_of(10.0), *more))
    assert len(lines) == 6
    assert re.fullmatch(r" +only now +5 +2  hops: p50 \(µs\)", lines[3])
    assert re.fullmatch(r" +only now +7 +2  hops: p99 \(µs\)", lines[4])
    assert re.fullmatch(r" +only before +0\.005 +hops: p50 \(ms\)", lines[5])


def test_a_bench_that_one_of_two_runs_left_out_is_one_line() -> None:
    both, lost = figures_of(10.0), lost_of(0.0)
    assert suite.compared(report_of(*both, lost), report_of(*both))[3:] == ["  only before bench scale, figures: 1"]
    assert suite.compared(report_of(lost), report_of(*both, lost))[3:] == ["     only now bench hops, figures: 1"]


@pytest.mark.parametrize(
    ("value", "text"), [(20_000_000.0, "20,000,000"), (439.4, "439"), (6.54, "6.54"), (46.04, "46.0"), (0.0001, "0")]
)
def test_numbers_have_the_digits_that_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_misspelled_bench_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        suite.main(["hop"])
    assert error.value.code == 2
    assert "no bench hop: hops, orders, burst" in capsys.readouterr().err
