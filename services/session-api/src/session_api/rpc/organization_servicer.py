"""OrganizationService."""

from datetime import timedelta

from browserfleet.organization.v1 import (
    organization_pb2,
    organization_service_pb2,
    organization_service_pb2_grpc,
)
from fleetkit.paging import PageTokens
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.context import Context
from session_api.domain.caller import Caller
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.rpc.organization_messages import (
    changed_fields,
    key_to_proto,
    organization_of,
    organization_to_proto,
    scope_of,
)
from session_api.usecases.organizations import NewKey, Organizations

_OVERLAP = timedelta(hours=24)


class OrganizationServicer(organization_service_pb2_grpc.OrganizationServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(self, *, organizations: Organizations, page_tokens: PageTokens) -> None:
        self._organizations = organizations
        self._page_tokens = page_tokens

    async def CreateOrganization(
        self, request: organization_service_pb2.CreateOrganizationRequest, context: Context
    ) -> organization_pb2.Organization:
        wanted = organization_of(request.organization_id, request.organization)
        return organization_to_proto(await self._organizations.create(wanted))

    async def GetOrganization(
        self, request: organization_service_pb2.GetOrganizationRequest, context: Context
    ) -> organization_pb2.Organization:
        found = await self._organizations.get(current_caller(Caller), OrganizationId(request.organization_id))
        return organization_to_proto(found)

    async def ListOrganizations(
        self, request: organization_service_pb2.ListOrganizationsRequest, context: Context
    ) -> organization_service_pb2.ListOrganizationsResponse:
        query = "organizations"
        wanted = self._page_tokens.request(page_size=request.page_size, page_token=request.page_token, query=query)
        page = await self._organizations.list(wanted)
        return organization_service_pb2.ListOrganizationsResponse(
            organizations=[organization_to_proto(organization) for organization in page.items],
            next_page_token=self._page_tokens.token(page, query=query),
        )

    async def UpdateOrganization(
        self, request: organization_service_pb2.UpdateOrganizationRequest, context: Context
    ) -> organization_pb2.Organization:
        changes = organization_of(request.organization_id, request.organization)
        return organization_to_proto(await self._organizations.update(changes, changed_fields(request.update_mask)))

    async def CreateApiKey(
        self, request: organization_service_pb2.CreateApiKeyRequest, context: Context
    ) -> organization_service_pb2.CreateApiKeyResponse:
        new = await self._organizations.create_key(
            current_caller(Caller),
            OrganizationId(request.organization_id),
            scope=scope_of(request.scope),
            display_name=request.display_name,
        )
        return _new_key(new)

    async def ListApiKeys(
        self, request: organization_service_pb2.ListApiKeysRequest, context: Context
    ) -> organization_service_pb2.ListApiKeysResponse:
        query = f"keys of {request.organization_id}"
        wanted = self._page_tokens.request(page_size=request.page_size, page_token=request.page_token, query=query)
        page = await self._organizations.keys(current_caller(Caller), OrganizationId(request.organization_id), wanted)
        return organization_service_pb2.ListApiKeysResponse(
            api_keys=[key_to_proto(key) for key in page.items],
            next_page_token=self._page_tokens.token(page, query=query),
        )

    async def RotateApiKey(
        self, request: organization_service_pb2.RotateApiKeyRequest, context: Context
    ) -> organization_service_pb2.CreateApiKeyResponse:
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _OVERLAP
        key_id = KeyId(request.api_key_id)
        return _new_key(await self._organizations.rotate_key(current_caller(Caller), key_id, overlap=overlap))

    async def RevokeApiKey(
        self, request: organization_service_pb2.RevokeApiKeyRequest, context: Context
    ) -> organization_pb2.ApiKey:
        return key_to_proto(await self._organizations.revoke_key(current_caller(Caller), KeyId(request.api_key_id)))


def _new_key(new: NewKey) -> organization_service_pb2.CreateApiKeyResponse:
    return organization_service_pb2.CreateApiKeyResponse(api_key=key_to_proto(new.key), secret=new.secret)
