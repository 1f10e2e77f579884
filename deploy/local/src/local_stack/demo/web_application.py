"""Datasette behind a login: a web application that nobody here wrote, with a shop's database made for the occasion."""

import asyncio
import contextlib
import json
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from datasette_auth_passwords.utils import hash_password  # type: ignore[import-untyped]  # the plugin has no types

from local_stack.ports import LOOPBACK, PortBook
from local_stack.processes import Command
from local_stack.supervisor import Supervisor

USER = "ada"
ORDER_COUNT = 4200
_FIRST_ORDER_TIME = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)
_CITIES = ("Reykjavík", "Łódź", "São Paulo", "Kraków", "Nairobi", "Đà Nẵng", "Graz", "Hull", "Tromsø", "Perth")
_NAMES = ("Okafor", "Lindqvist", "O'Neill", "García", "Nguyễn", "Haddad", "Schäfer", "Watanabe", "Kovács", "Mbeki")
# Commas, quotes and a line break: what a CSV has to get right.
_ITEMS = (
    "Desk lamp",
    'Monitor, 27"',
    "Notebook (A5, dotted)",
    'Cable "USB-C"',
    "Chair\nwith armrests",
    "Tea, green",
    "Bookshelf",
)
_NOTES = (None, "gift", "call first, please", None, "leave at no. 7")
_SCHEMA = """
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL);
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        customer_id INTEGER NOT NULL REFERENCES customers (id),
        item TEXT NOT NULL,
        quantity INTEGER NOT NULL,
        price_cents INTEGER NOT NULL,
        order_time TEXT NOT NULL,
        note TEXT
    );
"""
# What the page's export holds: it names the customer behind each number.
_EXPORT = """
    SELECT orders.id, customer_id, customers.name AS customer_id_label, item, quantity, price_cents, order_time, note
    FROM orders JOIN customers ON customers.id = customer_id ORDER BY orders.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebApplication:
    """The running application; a supervisor starts it and keeps it."""

    folder: Path
    port: int
    password: str
    name: str = "datasette"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def orders_url(self) -> str:
        """The table page that both runs look at."""
        return f"{self.url}/shop/orders?_sort_desc=price_cents"

    @property
    def database(self) -> Path:
        return self.folder / "shop.db"

    async def prepare(self) -> None:
        await asyncio.to_thread(self._write)

    def command(self) -> Command:
        argv = (sys.executable, "-m", "datasette", "serve", str(self.database), "--host", LOOPBACK)
        settings = ("--port", str(self.port), "--metadata", str(self._metadata), "--setting", "default_page_size", "50")
        return Command(argv=(*argv, *settings), folder=self.folder)

    async def ready(self) -> bool:
        """Serving means here: it asks who is there."""
        return await self.answers_to_a_stranger() == httpx.codes.FORBIDDEN

    async def ended(self) -> None:
        """Everything it keeps is in its folder."""

    async def answers_to_a_stranger(self) -> int:
        """Return the HTTP code of the table page without a login. Raises OSError while nobody listens."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
                return (await http.get(self.orders_url)).status_code
        except httpx.TransportError as error:
            raise OSError(str(error)) from error

    def rows(self) -> list[list[str]]:
        """Return the orders as the page's CSV shows them, by ID, the column names first."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            cursor = connection.execute(_EXPORT)
            names = [column[0] for column in cursor.description]
            return [names, *(["" if value is None else str(value) for value in row] for row in cursor)]

    @property
    def _metadata(self) -> Path:
        return self.folder / "metadata.json"

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            connection.executescript(_SCHEMA)
            connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", _customers())
            connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", _orders())
        plugin = {f"{USER}_password_hash": hash_password(self.password)}
        metadata = {"title": "Shop", "allow": {"id": USER}, "plugins": {"datasette-auth-passwords": plugin}}
        self._metadata.write_text(json.dumps(metadata))


@contextlib.asynccontextmanager
async def running_application(folder: Path, logs: Path) -> AsyncIterator[WebApplication]:
    """Run the application within the block. Raises StartFailed."""
    application = WebApplication(folder=folder, port=PortBook().free("datasette"), password=secrets.token_urlsafe(12))
    async with Supervisor(logs=logs) as supervisor:
        await supervisor.start(application)
        yield application


def _customers() -> list[tuple[int, str, str]]:
    return [(number, f"{_NAMES[number % 10]} & Co. {number}", _CITIES[number * 7 % 10]) for number in range(1, 301)]


def _orders() -> list[tuple[int, int, str, int, int, str, str | None]]:
    # Products with primes spread the values, and are the same each time.
    return [
        (
            number,
            number * 7919 % 300 + 1,
            _ITEMS[number * 31 % len(_ITEMS)],
            number * 13 % 9 + 1,
            number * 104_729 % 50_000 + 99,
            (_FIRST_ORDER_TIME + timedelta(minutes=number * 37)).isoformat(),
            _NOTES[number * 17 % len(_NOTES)],
        )
        for number in range(1, ORDER_COUNT + 1)
    ]
