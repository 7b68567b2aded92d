"""The cost of arms that adapt, as a table."""

from benchmarks import adaptation


def test_table_has_the_ratios_of_each_arm_and_store() -> None:
    pairs = [
        {
            "arm": "coral", "store": store, "with": {"seconds": seconds, "processor": 6.0},
            "without": {"seconds": 2.0, "processor": 4.0},
        }
        for store, seconds in (("cold", 2.0), ("warm", 3.0), ("warm", 2.0), ("warm", 4.0))
    ]  # fmt: skip
    _, _, cold, warm = adaptation.table(pairs).splitlines()
    assert cold == "| coral | cold | 1.00 (1.00 to 1.00, n = 1) | 1.50 (1.50 to 1.50, n = 1) |"
    assert warm == "| coral | warm | 1.50 (1.00 to 2.00, n = 3) | 1.50 (1.50 to 1.50, n = 3) |"
