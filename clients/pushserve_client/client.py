"""Client that blocks. `aio` holds its twin for asyncio."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as stubs
from pushserve_client import from_messages, requests
from pushserve_client.channel import channel_options
from pushserve_client.deployment_progress import Deadline, Reconnects, early_end, successor
from pushserve_client.errors import CallError, DeploymentFailed, Unavailable, error_from_rpc
from pushserve_client.health_check import health_check
from pushserve_client.prediction import Prediction
from pushserve_client.types import (
    Deployment,
    DeploymentState,
    Model,
    ModelDetails,
    Ref,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """A connection to a pushserve server at `target` ("host:port").

    Threads may share it. `timeout` (seconds) bounds each call that names none; `retry`
    repeats, for about a second, calls that may be repeated and found the server
    unavailable. Every method raises the errors of `pushserve_client.errors`.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float = 30.0,
        retry: bool = True,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        options = channel_options(target, retry=retry)
        self._channel = (
            grpc.secure_channel(target, credentials, options)
            if credentials
            else grpc.insecure_channel(target, options)
        )
        self._stub = stubs.ModelServiceStub(self._channel)
        self._health = health_check(self._channel)
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def register(
        self,
        source: str,
        *,
        ref: str | None = None,
        commit: str | None = None,
        path: str = "",
        model: str = "",
        retry: bool = False,
        timeout: float | None = None,
    ) -> Deployment:
        """Ask the server to take a ref (or a commit) of `source` live; it goes on by itself.

        Neither `ref` nor `commit` means the repository's default branch. `retry` starts a
        new try where the last deployment of the commit has failed.
        """
        request = requests.register_request(
            source, ref=ref, commit=commit, path=path, model=model, retry=retry
        )
        reply = self._call(self._stub.Register, request, timeout)
        return from_messages.deployment_from_proto(reply.deployment)

    def watch(self, name: str, *, timeout: float | None = None) -> Iterator[Deployment]:
        """Yield the deployment as it is, then each change, until it has ended.

        Goes on over a lost connection. `timeout` bounds the whole, in seconds.
        """
        deadline, reconnects = Deadline(timeout), Reconnects()
        last: Deployment | None = None
        while last is None or not last.state.is_final:
            try:
                for deployment in self._watch_once(name, deadline):
                    reconnects.progressed()
                    if deployment != last:
                        yield deployment
                    last = deployment
            except Unavailable as error:
                time.sleep(reconnects.pause_after(error, deadline.left()))

    def _watch_once(self, name: str, deadline: Deadline) -> Iterator[Deployment]:
        request = pb.WatchDeploymentRequest(name=name)
        stream = self._stub.WatchDeployment(request, timeout=deadline.left())
        ended = False
        try:
            for message in stream:
                deployment = from_messages.deployment_from_proto(message.deployment)
                ended = deployment.state.is_final
                yield deployment
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
        finally:
            stream.cancel()
        if not ended:
            raise early_end()

    def wait(self, deployment: Deployment | str, *, timeout: float | None = None) -> Deployment:
        """Wait until a deployment is live, and give it as it ended.

        One that a newer deployment superseded is followed to that one.

        Raises:
            DeploymentFailed: it failed; says why and what to change.
            DeadlineExceeded: `timeout` seconds have passed; the deployment goes on.
        """
        deadline = Deadline(timeout)
        name = deployment if isinstance(deployment, str) else deployment.name
        while True:
            *_, last = self.watch(name, timeout=deadline.left())
            if last.state is DeploymentState.FAILED:
                raise DeploymentFailed(last)
            name = successor(last)
            if not name:
                return last

    def list(self, prefix: str = "", *, source: str = "", page_size: int = 0) -> Iterator[Model]:
        """Yield the models, by name: those whose name starts with `prefix`, of `source`."""
        request = pb.ListRequest(name_prefix=prefix, source=source, page_size=page_size)
        while True:
            page = self._call(self._stub.List, request)
            yield from map(from_messages.model_from_proto, page.models)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def get(
        self,
        model: str,
        *,
        ref: str | None = None,
        version: int | None = None,
        commit: str | None = None,
    ) -> ModelDetails:
        """Give a model with its refs and versions, and the version asked for."""
        request = requests.get_request(model, ref=ref, version=version, commit=commit)
        return from_messages.details_from_proto(self._call(self._stub.Get, request))

    def deployments(
        self,
        *,
        model: str = "",
        ref: str = "",
        state: DeploymentState | None = None,
        page_size: int = 0,
    ) -> Iterator[Deployment]:
        """Yield deployments, newest first, without their events."""
        request = requests.list_deployments_request(
            model=model, ref=ref, state=state, page_size=page_size
        )
        while True:
            page = self._call(self._stub.ListDeployments, request)
            yield from map(from_messages.deployment_from_proto, page.deployments)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def get_deployment(self, name: str) -> Deployment:
        """Give a deployment with its events."""
        reply = self._call(self._stub.GetDeployment, pb.GetDeploymentRequest(name=name))
        return from_messages.deployment_from_proto(reply.deployment)

    def pin(
        self,
        model: str,
        *,
        ref: str | None = None,
        version: int | None = None,
        commit: str | None = None,
    ) -> Ref:
        """Hold a ref (the default one) on a version (the one that answers now): a rollback."""
        request = requests.pin_request(model, ref=ref, version=version, commit=commit)
        return from_messages.ref_from_proto(self._call(self._stub.Pin, request).ref)

    def unpin(self, model: str, *, ref: str | None = None) -> Ref:
        """Let a ref follow Git again."""
        request = pb.UnpinRequest(model=model, ref=ref or "")
        return from_messages.ref_from_proto(self._call(self._stub.Unpin, request).ref)

    def delete(self, model: str, *, ref: str | None = None) -> tuple[str, ...]:
        """Stop serving a model, or one ref of it; gives the refs that are no longer served."""
        request = pb.DeleteRequest(model=model, ref=ref or "")
        return tuple(self._call(self._stub.Delete, request).refs)

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        ref: str | None = None,
        version: int | None = None,
        commit: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Prediction:
        """Run a model on rows: an array, a DataFrame, a dict of columns or a list of dicts.

        `outputs` names what to compute; nothing means the model's defaults.
        """
        request = requests.predict_request(
            model, inputs, ref=ref, version=version, commit=commit, outputs=outputs
        )
        return from_messages.prediction_from_proto(self._call(self._stub.Predict, request, timeout))

    def predict_stream(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        ref: str | None = None,
        version: int | None = None,
        commit: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Iterator[Prediction | CallError]:
        """Run a model on many inputs over one call; answers come in their order.

        Each of `inputs` is what `predict` takes. One that the server refuses gives the
        `CallError` in place of its prediction, and the stream goes on. `inputs` is read
        on another thread, ahead of the answers. `timeout` bounds the whole stream; None does not.
        """
        sent = requests.predict_stream_requests(
            model, inputs, ref=ref, version=version, commit=commit, outputs=outputs
        )
        replies = self._stub.PredictStream(sent, timeout=timeout)
        try:
            for reply in replies:
                yield from_messages.outcome_from_proto(reply)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
        finally:
            replies.cancel()

    def is_serving(self, service: str = "", *, timeout: float = 2.0) -> bool:
        """Whether the server answers and says that it (or `service`) serves."""
        try:
            return bool(self._call(self._health, service, timeout))
        except CallError:
            return False

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Response:
        try:
            return method(request, timeout=self._timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
