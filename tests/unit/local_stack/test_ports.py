"""Which ports of the machine belong to a stack."""

from local_stack.ports import PAIR_DISTANCE, PortBook


def test_the_second_ports_of_pairs_are_occupied_too() -> None:
    book = PortBook()
    alone, paired = book.free("alone"), book.free("paired", paired=True)

    assert book.occupied == sorted([alone, paired, paired + PAIR_DISTANCE])


def test_a_pair_that_is_given_again_stays_one() -> None:
    book = PortBook()
    port = book.free("s3", paired=True)
    again = PortBook(previous={"s3": port})

    assert again.free("s3", paired=True) == port
    assert again.occupied == [port, port + PAIR_DISTANCE]
