"""Free ports, which are different and not ephemeral."""

from __future__ import annotations

import socket

from server.host import PORT_RANGE, find_free_addresses, find_free_ports


def test_ports_are_different_and_below_the_ephemeral_ones():
    ports = find_free_ports(6)

    assert len(set(ports)) == 6
    assert all(port in PORT_RANGE for port in ports)


def test_no_port_is_offered_twice_in_a_row():
    assert not set(find_free_ports(6)) & set(find_free_ports(6))


def test_a_taken_port_is_left_out():
    [before] = find_free_ports(1)
    with socket.socket() as taken:
        taken.bind(
            ("127.0.0.1", PORT_RANGE[(before + 1 - PORT_RANGE.start) % len(PORT_RANGE)])
        )

        [after] = find_free_ports(1)

        assert after not in (before, taken.getsockname()[1])


def test_addresses_name_six_ports():
    addresses = find_free_addresses()

    assert len({value.rpartition(":")[2] for value in addresses.values()}) == 6
