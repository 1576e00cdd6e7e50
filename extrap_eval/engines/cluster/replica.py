"""One server of a fleet on a cluster, as the driver sees it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from extrap_eval.engines.cluster.server_actor import Order, ServerActor, Up
from extrap_eval.engines.servers.replica import Say, ServerFailed

LOOK_SECONDS = 5.0
# Ray learns within seconds that a process is gone, and within half a minute that a machine is.
PAUSE_SECONDS = 1.0
STOP_SECONDS = 15.0


class RayReplica:
    """A server in an actor that Ray places and, when its process or node dies, starts again elsewhere.

    It reserves what it needs in a placement group, so that its GPUs stay its own over restarts. The driver must
    be connected. Meets ``extrap_eval.engines.servers.replica.Replica``.
    """

    def __init__(self, order: Order) -> None:
        import ray

        self.command = ""
        self._order = order
        self._node = ""
        self._group = ray.util.placement_group([order.need.bundle])
        self._actor: Any = None

    @property
    def name(self) -> str:
        where = f" on {self._node}" if self._node else ""
        return f"{self._order.spec.kind} {self._order.number}{where}"

    def granted(self) -> Any:
        """An object reference that is ready once the cluster has set its resources aside."""
        return self._group.ready()

    async def start(self, say: Say) -> str:
        """Wait until the cluster has room, then until the server answers."""
        granted = asyncio.ensure_future(_result(self.granted()))
        while not (await asyncio.wait([granted], timeout=LOOK_SECONDS))[0]:
            say(f"waiting until the cluster has {self._order.need} free")
        if self._actor is None:
            self._actor = self._new_actor()
        answer = await self._answer(say)
        if not isinstance(answer, Up):
            raise ServerFailed(answer.reason, answer.tail)
        self._node, self.command = answer.node, answer.command
        return answer.url

    async def died(self) -> str:
        from ray.exceptions import RayActorError

        try:
            return str(await _result(self._actor.died.remote()))
        except RayActorError:
            return f"the actor or its node is gone ({self._node})"

    async def stop(self, *, at_once: bool = False) -> None:
        """End the server. The actor and its place stay for the next start."""
        import ray
        from ray.exceptions import RayError

        if self._actor is None:
            return
        try:
            await asyncio.wait_for(_result(self._actor.stop.remote(at_once=at_once)), STOP_SECONDS)
        except RayError:
            pass  # it is gone, and its server with it
        except TimeoutError:
            ray.kill(self._actor, no_restart=False)  # it hangs: Ray starts it anew

    def release(self) -> None:
        """Give back the actor and what was reserved for it."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
        ray.util.remove_placement_group(self._group)

    def _new_actor(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        # No limit to Ray's restarts: the fleet counts them all, those of a server in a living actor too.
        options = {
            "num_gpus": self._order.need.gpus,
            "num_cpus": self._order.need.cpus,
            "max_restarts": -1,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self._group),
        }
        return ray.remote(ServerActor).options(**options).remote(self._order)

    async def _answer(self, say: Say) -> Any:
        """What ``start`` of the actor says, asked again for as long as Ray is about to restart it."""
        from ray.exceptions import ActorUnavailableError, RayActorError, RayError

        while True:
            answer = asyncio.ensure_future(_result(self._actor.start.remote()))
            try:
                while not (await asyncio.wait([answer], timeout=LOOK_SECONDS))[0]:
                    with contextlib.suppress(ActorUnavailableError, TimeoutError):
                        say(await asyncio.wait_for(_result(self._actor.words.remote()), LOOK_SECONDS))
                return await answer
            except ActorUnavailableError:
                say("its actor or node is gone: waiting until Ray has started it elsewhere")
                await asyncio.sleep(PAUSE_SECONDS)
            except RayActorError as error:
                self._actor = None  # for good; another start makes another actor
                raise ServerFailed(f"Ray cannot run the actor: {_first_line(error)}") from None
            except RayError as error:
                raise ServerFailed(f"the actor failed: {_first_line(error)}") from None
            finally:
                answer.cancel()


async def _result(reference: Any) -> Any:
    return await reference


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
