"""Organizations and their API keys."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from fleetkit.errors import PermissionDenied
from fleetkit.ids import IdSource
from fleetkit.paging import Page, PageRequest
from session_api.domain.caller import ApiKey, Caller, Scope, new_secret, secret_digest, shown_prefix
from session_api.domain.errors import ApiKeyNotFound, OrganizationExists, OrganizationNotFound
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Organization
from session_api.usecases.access import Access
from session_api.usecases.ports import Bells, Database, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key and its secret, which is nowhere else."""

    key: ApiKey
    secret: str


class Organizations:
    """Managed with a key of the service scope; an admin's key sees and keys its own organization."""

    def __init__(self, *, database: Database, ids: IdSource, access: Access, bells: Bells) -> None:
        self._database = database
        self._ids = ids
        self._access = access
        self._bells = bells

    async def create(self, organization: Organization) -> Organization:
        """Make an organization; one that exists with the same settings is returned. Raises OrganizationExists."""
        async with self._database.transaction() as tx:
            is_new = await tx.organizations.add(organization)
            stored = await tx.organizations.get(organization.id)
        if not is_new and (stored.limits, stored.weight) != (organization.limits, organization.weight):
            raise OrganizationExists("The organization exists, with other settings.")
        return stored

    async def get(self, caller: Caller, organization_id: OrganizationId) -> Organization:
        """Return an organization. Raises OrganizationNotFound."""
        _require_visible(caller, organization_id)
        async with self._database.single() as tx:
            return await tx.organizations.get(organization_id)

    async def list(self, page: PageRequest) -> Page[Organization]:
        """Return one page, by ID."""
        async with self._database.single() as tx:
            return await tx.organizations.page(page)

    async def update(self, changes: Organization, fields: Collection[str]) -> Organization:
        """Change `limits` and `weight` (both where `fields` is empty). Raises OrganizationNotFound."""
        async with self._database.transaction() as tx:
            stored = await tx.organizations.get(changes.id)
            if not fields or "limits" in fields:
                stored = replace(stored, limits=changes.limits)
            if not fields or "weight" in fields:
                stored = replace(stored, weight=changes.weight)
            await tx.organizations.save(stored)
        self._access.forget()
        # Somebody in the queue may be let in now.
        self._bells.queue.set()
        return stored

    async def create_key(
        self, caller: Caller, organization_id: OrganizationId, *, scope: Scope, display_name: str
    ) -> NewKey:
        """Make a key; only its digest is stored. Raises OrganizationNotFound, PermissionDenied."""
        _require_visible(caller, organization_id)
        _require_may_give(caller, scope)
        async with self._database.transaction() as tx:
            await tx.organizations.get(organization_id)
            return await self._add_key(tx, organization_id, scope, display_name)

    async def keys(self, caller: Caller, organization_id: OrganizationId, page: PageRequest) -> Page[ApiKey]:
        """Return one page of an organization's keys, newest first. Raises OrganizationNotFound."""
        _require_visible(caller, organization_id)
        async with self._database.transaction() as tx:
            await tx.organizations.get(organization_id)
            return await tx.keys.page(organization_id, page)

    async def rotate_key(self, caller: Caller, key_id: KeyId, *, overlap: timedelta) -> NewKey:
        """Make a key like this one, which ends after `overlap`.

        Raises ApiKeyNotFound, ApiKeyRevoked, PermissionDenied.
        """
        async with self._database.transaction() as tx:
            old, now = await _visible_key(tx, caller, key_id), await tx.now()
            # The new secret would be the caller's.
            _require_may_give(caller, old.scope)
            old.require_good(now=now)
            await tx.keys.save(old.expiring(at=now + overlap))
            new = await self._add_key(tx, old.organization_id, old.scope, old.display_name)
        self._access.forget()
        return new

    async def revoke_key(self, caller: Caller, key_id: KeyId) -> ApiKey:
        """End a key, on this replica at once and on others within seconds.

        Raises ApiKeyNotFound, PermissionDenied.
        """
        async with self._database.transaction() as tx:
            key = await _visible_key(tx, caller, key_id)
            _require_may_give(caller, key.scope)
            key = key.revoked(now=await tx.now())
            await tx.keys.save(key)
        self._access.forget()
        return key

    async def provide_key(self, organization: Organization, *, scope: Scope, display_name: str) -> NewKey:
        """Make a key, and its organization where there is none; limits that are given replace those it has.

        For whoever administers the database itself.
        """
        async with self._database.transaction() as tx:
            if not await tx.organizations.add(organization):
                stored = await tx.organizations.get(organization.id)
                if organization.limits.max_timeout is not None:
                    cap = organization.limits.max_timeout
                    await tx.organizations.save(replace(stored, limits=replace(stored.limits, max_timeout=cap)))
            return await self._add_key(tx, organization.id, scope, display_name)

    async def _add_key(
        self, tx: Transaction, organization_id: OrganizationId, scope: Scope, display_name: str
    ) -> NewKey:
        secret = new_secret()
        key = ApiKey(
            id=KeyId(self._ids.new("key")),
            organization_id=organization_id,
            scope=scope,
            prefix=shown_prefix(secret),
            display_name=display_name,
            create_time=await tx.now(),
        )
        await tx.keys.add(key, secret_digest(secret))
        return NewKey(key=key, secret=secret)


def _require_visible(caller: Caller, organization_id: OrganizationId) -> None:
    if caller.visible_organization not in {None, organization_id}:
        raise OrganizationNotFound


def _require_may_give(caller: Caller, scope: Scope) -> None:
    if not caller.may_give(scope):
        raise PermissionDenied("An admin's key manages keys of the scopes member and admin.", scope="service")


async def _visible_key(tx: Transaction, caller: Caller, key_id: KeyId) -> ApiKey:
    key = await tx.keys.get(key_id)
    if caller.visible_organization not in {None, key.organization_id}:
        raise ApiKeyNotFound
    return key
