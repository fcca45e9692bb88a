"""Sessions, attachments, and one image on three levels."""
from __future__ import annotations

import signal
import threading
import time
from ctypes import byref, c_uint64, c_void_p, pointer

import mcm
import numpy as np
import pytest
from mcm import _images
from mcm import _native as native

from conftest import CONDITIONS, FASHION, SEGMENTATION, SKETCH

BOTH = {"sketch": SKETCH, "segmentation": SEGMENTATION}
SAMPLERS = [dict(scheduler="ddim", steps=4), dict(scheduler="ddim", steps=4, eta=0.7), dict(scheduler="ddpm", steps=4)]
SOLVERS = [
    ("pndm", {}), ("lms", {}), ("euler", {"use_karras_sigmas": True}), ("euler_ancestral", {}), ("heun", {}),
    ("dpm_solver_multistep", {"algorithm_type": "sde-dpmsolver++"}), ("unipc", {"solver_order": 3}), ("lcm", {}),
]


def session(model, **options):
    return mcm.Session(model, **{"scheduler": "ddim", "steps": 4, **options})


def own_loop(model, modulator, conditions, seed, batch, scheduler, steps, eta=0.0):
    rule = mcm.Scheduler(model, scheduler, steps, eta)
    generator = mcm.Generator(seed)
    x = generator.normal((batch, 1, 28, 28))
    for step, t in enumerate(rule.timesteps):
        e = modulator.modulate(model, x, model.predict(x, t), t, conditions)
        x, _ = rule.step(step, x, e, generator.normal(x.shape) if rule.needs_noise(step) else None)
    return model.decode(x)


@pytest.mark.parametrize("scheduler, options", SOLVERS)
def test_solvers_agree_with_a_loop_of_ones_own(model, modulator, scheduler, options):
    with mcm.Session(model, 2, scheduler=scheduler, steps=4, scheduler_options=options) as run:
        run.attach(modulator, conditions=BOTH)
        run.seed(7)
        run.run()
        expected = run.x

    rule = mcm.Scheduler(model, scheduler, 4, options=options)
    assert run.steps == len(rule.timesteps)
    generator = mcm.Generator(7)
    x = generator.normal((2, 1, 28, 28)) * np.float32(rule.init_noise_sigma)
    history = rule.history(x)
    for step, t in enumerate(rule.model_timesteps):
        scaled = rule.scale_model_input(step, x)
        e = modulator.modulate(model, scaled, model.predict(scaled, t), t, BOTH)
        noise = generator.normal(x.shape) if rule.needs_noise(step) else None
        x, _ = rule.step(step, x, e, noise, history)
    assert np.array_equal(x, expected)


def test_scheduler_options_are_checked(model):
    for options in ({"solver_disorder": 3}, {"solver_order": 0}, {"use_flow_sigmas": True}):
        with pytest.raises(mcm.MCMError, match=next(iter(options))):
            mcm.Scheduler(model, "unipc", 4, options=options)


def native_generate(model, modulator, conditions, seed, batch, scheduler, steps, eta=0.0, callback=None):
    """mcm_generate itself, which `mcm.generate` does not call."""
    images = _images.Conditions(conditions)
    attachment = native.Attachment(
        condition_count=len(conditions), modulator=modulator._handle, conditions=images._as_parameter_
    )
    kind = {"ddpm": native.SCHEDULER_DDPM, "ddim": native.SCHEDULER_DDIM}[scheduler]
    options = native.GenerateOptions(
        seed_count=1,
        seeds=(c_uint64 * 1)(seed),
        session=pointer(native.SessionOptions(strength=1.0, batch=batch, scheduler=kind, steps=steps, eta=eta)),
        attachments=pointer(attachment),
        attachment_count=1,
        callback=callback or native.Progress(),
    )
    pixels = np.empty((batch, 28, 28), np.uint8)
    native.lib.mcm_generate(model._handle, byref(options), pixels.ctypes.data, pixels.size)
    return pixels


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_agree(model, modulator, sampler):
    images = mcm.generate(model, mcm.Conditioning(modulator, BOTH), seeds=7, batch=2, **sampler)
    assert images.shape == (2, 28, 28) and images.dtype == np.uint8 and not np.array_equal(images[0], images[1])
    with mcm.Session(model, batch=2, **sampler) as stepped:
        stepped.attach(modulator, conditions=BOTH)
        stepped.seed(7)
        stepped.run()
        assert np.array_equal(stepped.result(), images)
    assert np.array_equal(own_loop(model, modulator, BOTH, 7, 2, **sampler), images)
    assert np.array_equal(native_generate(model, modulator, BOTH, 7, 2, **sampler), images)


def test_threads_do_not_matter(model, modulator):
    conditioning = mcm.Conditioning(modulator, BOTH)
    with mcm.Model.open(FASHION / "base", threads=1) as single:
        assert np.array_equal(
            mcm.generate(single, conditioning, scheduler="ddim", steps=2),
            mcm.generate(model, conditioning, scheduler="ddim", steps=2),
        )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_image_alone_equals_image_in_batch(model, modulator, sampler):
    sketches = [CONDITIONS / f"{k:02}_sketch.png" for k in range(3)]
    seeds = [5, 6, 7]
    batch = mcm.generate(model, mcm.Conditioning(modulator, {"sketch": sketches}), seeds=seeds, **sampler)
    for k in range(3):
        alone = mcm.generate(model, mcm.Conditioning(modulator, {"sketch": sketches[k]}), seeds=seeds[k], **sampler)
        assert np.array_equal(batch[k], alone[0])


def test_iteration(model):
    with session(model, batch=2) as run:
        assert run.shape == (2, 1, 28, 28) and run.steps == 4
        run.seed(0)
        assert (run.steps_done, run.timestep, run.done) == (0, 750, False)
        start = run.x
        assert np.array_equal(start, mcm.Generator(0).normal(run.shape))
        seen = []
        for step in run:
            seen.append((step.step, step.steps, step.timestep))
            assert np.array_equal(step.x, run.x) and np.array_equal(step.x0, run.x0)
            assert np.array_equal(step.preview(), model.decode(step.x0))
            last = step
        assert seen == [(1, 4, 750), (2, 4, 500), (3, 4, 250), (4, 4, 0)]
        assert (run.steps_done, run.timestep, run.done) == (4, None, True)
        assert np.array_equal(run.result(), model.decode(last.x))
        assert list(run) == []
        run.seed(0)
        assert np.array_equal(run.x, start)
        with pytest.raises(mcm.StateError, match="step 4 has passed"):
            last.x0
        assert repr(next(iter(run))) == "Step(step=1, steps=4, timestep=750)"


def test_iteration_goes_on_after_break(model):
    with session(model) as run:
        run.seed(1)
        run.run()
        whole = run.result()
        run.seed(1)
        for step in run:
            if step.step == 2:
                break
        assert run.steps_done == 2
        with pytest.raises(mcm.StateError, match="2 of 4"):
            run.result()
        run.run()
        assert np.array_equal(run.result(), whole)


def test_editing(model):
    with session(model) as run:
        run.seed(1)
        run.step()
        kept = run.x
        run.run()
        whole = run.result()
        run.seed(2)
        run.step()
        run.x = kept.astype(np.float64)
        assert np.array_equal(run.x, kept)
        run.run()
        assert np.array_equal(run.result(), whole)
        with pytest.raises(mcm.SizeError):
            run.x = kept[0]
        with pytest.raises(mcm.InvalidArgument):
            run.x = np.full(run.shape, np.nan)


def test_a_step_is_of_its_run(model):
    with mcm.Session(model, scheduler="ddim", steps=3) as session:
        session.seed(1)
        first = session.step()
        session.seed(2)
        session.step()
        with pytest.raises(mcm.StateError, match="step 1 has passed, the session was seeded again"):
            first.x


def test_seeds_of_any_kind(model):
    expected = mcm.generate(model, seeds=[1, 2], steps=2)
    for seeds in (np.array([1, 2]), (seed for seed in (1, 2)), range(1, 3)):
        assert np.array_equal(mcm.generate(model, seeds=seeds, steps=2), expected)


def test_states(model, modulator):
    with session(model) as run:
        for call in (run.step, run.run, lambda: list(run), run.result, lambda: run.x0):
            with pytest.raises(mcm.StateError) as caught:
                call()
            assert isinstance(caught.value, RuntimeError) and caught.value.status == 4
        run.seed(0)
        with pytest.raises(mcm.StateError):
            run.preview()
        run.run()
        with pytest.raises(mcm.StateError):
            run.step()


def test_memory(model, modulator):
    with session(model, batch=2) as run:
        before = run.memory
        assert (before.threads, before.weights, before.cache) == (model.memory.threads, 0, 0)
        assert before.arena >= 2 * 784 * 4  # the samples
        run.seed(0)
        run.step()
        arena = run.memory.arena
        assert arena > before.arena
        run.run()
        assert run.memory.arena == arena
        run.attach(modulator, conditions=BOTH)
        finish(run)
        assert run.memory.arena > arena
    with pytest.raises(mcm.StateError):
        run.memory


def test_use_after_close(model, modulator):
    with session(model) as run:
        attachment = run.attach(modulator)
        run.seed(0)
        step = run.step()
    for call in (
        run.step,
        run.result,
        lambda: run.x,
        lambda: step.preview(),
        lambda: run.attach(modulator),
        lambda: attachment.set_condition("sketch", SKETCH),
        attachment.detach,
    ):
        with pytest.raises(mcm.StateError, match="Session is closed"):
            call()


def test_session_errors(model):
    for options in (
        dict(batch=0), dict(batch=-1), dict(steps=1001), dict(steps=-1), dict(eta=2.0),
        dict(eta=np.nan), dict(scheduler="eulerian"), dict(scheduler="ddpm", eta=0.5),
    ):
        with pytest.raises(mcm.InvalidArgument):
            session(model, **options)
    with pytest.raises(mcm.SizeError, match="multiples of 4"):
        session(model, width=27)
    with session(model, batch=3) as run:
        for seeds in ([1, 2], [], -1, 2**64):
            with pytest.raises((mcm.SizeError, mcm.InvalidArgument)):
                run.seed(seeds)
        with pytest.raises(mcm.MCMError):
            run.set_class_input([1.0, 2.0, 3.0])


def test_other_sizes(model, modulator):
    with session(model, width=36, height=20, steps=2) as run:
        run.attach(modulator, conditions=BOTH)
        run.seed(0)
        run.run()
        assert run.result().shape == (1, 20, 36)


def finish(run, seed=3):
    run.seed(seed)
    run.run()
    return run.result()


def test_attachment(model, modulator):
    with session(model) as run:
        plain = finish(run)
        attachment = run.attach(modulator, weight=1.0, conditions=BOTH)
        full = finish(run)
        assert (attachment.weight, attachment.window) == (1.0, (0.0, 1.0))
        attachment.weight = 0.0
        assert attachment.weight == 0.0 and np.array_equal(finish(run), plain)
        attachment.weight = 1.0
        assert np.array_equal(finish(run), full)
        attachment.window = (0.5, 0.5)
        assert np.array_equal(finish(run), plain)
        attachment.window = (0.0, 0.5)
        half = finish(run)
        assert not np.array_equal(half, full) and not np.array_equal(half, plain)
        attachment.detach()
        assert np.array_equal(finish(run), plain)
        for call in (attachment.detach, attachment.clear, lambda: setattr(attachment, "weight", 1.0)):
            with pytest.raises(mcm.StateError, match="detached"):
                call()
        run.attach(modulator, end=0.5, conditions=BOTH)
        assert np.array_equal(finish(run), half)


def test_two_attachments(model, modulator):
    with session(model) as run:
        first = run.attach(modulator, conditions={"sketch": SKETCH})
        one = finish(run)
        second = run.attach(modulator, weight=0.5, conditions={"segmentation": SEGMENTATION})
        assert not np.array_equal(finish(run), one)
        second.detach()
        assert np.array_equal(finish(run), one)
        first.detach()


def test_conditions(model, modulator, tmp_path):
    with session(model) as run:
        attachment = run.attach(modulator)
        absent = finish(run)
        attachment.set_condition("sketch", SKETCH)
        sketched = finish(run)
        attachment.set_condition("sketch", mcm.read_png(SKETCH))
        assert np.array_equal(finish(run), sketched)
        attachment.set_condition("sketch", [mcm.read_png(SKETCH) / 255])
        assert np.array_equal(finish(run), sketched)
        mcm.write_png(tmp_path / "rgb.png", mcm.read_png(SKETCH)[..., None].repeat(3, -1))
        attachment.set_condition("sketch", tmp_path / "rgb.png")
        assert np.array_equal(finish(run), sketched)
        attachment.set_condition("segmentation", str(SEGMENTATION))
        both = finish(run)
        assert not np.array_equal(both, sketched)
        attachment.clear("segmentation")
        assert np.array_equal(finish(run), sketched)
        attachment.clear()
        assert np.array_equal(finish(run), absent)


def test_condition_errors(model, modulator, tmp_path):
    with session(model) as run:
        plain = finish(run)
        for conditions, error in (
            ({"depth": SKETCH}, mcm.IncompatibleError),
            ({"sketch": tmp_path / "nowhere.png"}, mcm.IOFailure),
            ({"sketch": FASHION / "conditions.py"}, mcm.FormatError),
            ({"sketch": [SKETCH] * 2}, (mcm.SizeError, mcm.InvalidArgument)),
            ({"a\0b": SKETCH}, mcm.InvalidArgument),
        ):
            with pytest.raises(error) as caught:
                run.attach(modulator, conditions=conditions)
            assert str(caught.value)
        assert np.array_equal(finish(run), plain)  # nothing stayed attached
        attachment = run.attach(modulator)
        for weight in (np.nan, np.inf):
            with pytest.raises(mcm.InvalidArgument):
                attachment.weight = weight
        with pytest.raises(mcm.InvalidArgument):
            attachment.window = (0.0, np.nan)
        assert (attachment.weight, attachment.window) == (1.0, (0.0, 1.0))


def test_other_base(files, model, modulator):
    weights = bytearray(files["unet/diffusion_pytorch_model.safetensors"])
    weights[-1] ^= 1
    start = 8 + int.from_bytes(weights[:8], "little")
    weights[start] ^= 255  # the first element of a tensor counts in the fingerprint
    weights[start + 1] ^= 1
    with mcm.Model.from_files({**files, "unet/diffusion_pytorch_model.safetensors": weights}) as other:
        assert other.info.fingerprint != model.info.fingerprint
        with session(other) as run:
            with pytest.raises(mcm.IncompatibleError, match=model.info.fingerprint):
                run.attach(modulator)
            run.attach(modulator, other_base=True)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, mcm.Cancelled, KeyboardInterrupt])
def test_progress_stops_the_run(model, error):
    seen = []

    def progress(step):
        seen.append(step.step)
        if step.step == 2:
            raise error("enough")

    with session(model) as run:
        whole = finish(run)
        run.seed(3)
        with pytest.raises(error, match="enough"):
            run.run(progress)
        assert seen == [1, 2] and run.steps_done == 2
        run.run()
        assert np.array_equal(run.result(), whole)
    seen.clear()
    with pytest.raises(error, match="enough"):
        mcm.generate(model, scheduler="ddim", steps=4, progress=progress)
    assert seen == [1, 2]


@pytest.mark.usefixtures("ctrl_c")
def test_interrupt(model):
    with session(model, steps=1000) as run:
        run.seed(0)
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run.run()
        timer.join()
        done = run.steps_done
        assert 0 < done < 1000
        assert run.step().step == done + 1


def test_native_callback_cancels(model, modulator):
    steps = []

    @native.Progress
    def callback(user, handle, step, count):
        state = native.SessionState()
        native.lib.mcm_session_get_state(c_void_p(handle), byref(state))
        steps.append((step, count, state.step))
        return step == 2

    with pytest.raises(mcm.Cancelled) as caught:
        native_generate(model, modulator, BOTH, 7, 1, "ddim", 4, callback=callback)
    assert steps == [(1, 4, 1), (2, 4, 2)] and caught.value.status == 200
    with session(model) as run:
        run.seed(0)
        with pytest.raises(mcm.Cancelled):
            native.lib.mcm_session_run(run._handle, callback, None)
        assert run.steps_done == 2
        native.lib.mcm_session_run(run._handle, native.Progress(), None)
        assert run.done


def test_two_threads(model, modulator):
    names = ("sketch", "segmentation")
    conditions = [{name: CONDITIONS / f"{k:02}_{name}.png" for name in names} for k in range(2)]
    call = lambda k: mcm.generate(
        model, mcm.Conditioning(modulator, conditions[k]), seeds=k, scheduler="ddpm", steps=10
    )
    expected = [call(k) for k in range(2)]
    results = [None, None]

    def work(k):
        results[k] = [call(k) for _ in range(3)]

    threads = [threading.Thread(target=work, args=[k]) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(2):
        assert all(np.array_equal(result, expected[k]) for result in results[k])


def test_threads_take_turns(model):
    """Steps of one session from several threads are those of one: a session is not for two at a time."""
    with session(model, steps=60) as run, session(model, steps=60) as expected:
        expected.seed(0)
        expected.run()
        run.seed(0)
        threads = [threading.Thread(target=lambda: [run.step() for _ in range(15)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.done and np.array_equal(run.x, expected.x)


def test_close_while_another_thread_predicts(x):
    model = mcm.Model.open(FASHION / "base")
    expected = model.predict(x, 500)
    started = threading.Event()
    results = []

    def work():
        started.set()
        try:
            while True:
                results.append(model.predict(x, 500))
        except mcm.StateError:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while not results:
        time.sleep(0.01)
    model.close()
    thread.join()
    assert all(np.array_equal(result, expected) for result in results)
