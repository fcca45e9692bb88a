"""mcm.h for ctypes: structs, constants and function signatures, and the library itself as `lib`.

Functions that return an mcm_status raise the matching exception of `errors` instead. ctypes releases the GIL during
every call.
"""
from __future__ import annotations

import os
from contextlib import nullcontext
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)
from threading import RLock
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from . import errors

VERSION_MAJOR = 0
VERSION_MINOR = 1
"""Of mcm.h, which these declarations follow."""
U8, F32, F16 = 1, 2, 3
PREDICTION_EPSILON, PREDICTION_SAMPLE, PREDICTION_V = 1, 2, 3
ENCODING_GREY, ENCODING_RGB, ENCODING_ONE_HOT = 1, 2, 3
RESIZE_NEAREST, RESIZE_AREA, RESIZE_BILINEAR = 1, 2, 3
SCHEDULER_DEFAULT, SCHEDULER_DDPM, SCHEDULER_DDIM, SCHEDULER_PNDM, SCHEDULER_LMS, SCHEDULER_EULER = 0, 1, 2, 3, 4, 5
SCHEDULER_EULER_ANCESTRAL, SCHEDULER_HEUN, SCHEDULER_DPM_SOLVER_MULTISTEP, SCHEDULER_UNIPC = 6, 7, 8, 9
SCHEDULER_LCM = 10
DECODE_SAMPLE, DECODE_X0, DECODE_PREVIEW = 0, 1, 2
MODULATE_GUIDED, MODULATE_CONDITIONAL = 0, 1
WEIGHTING_UNIFORM, WEIGHTING_MIN_SNR, WEIGHTING_NOISE = 1, 2, 3
TIMESTEPS_UNIFORM, TIMESTEPS_WEIGHTED = 1, 2
LOSSES_TIMESTEP, LOSSES_GIVEN, LOSSES_WITHHELD = 1, 2, 3


class Struct(Structure):
    """A struct that begins with its own size.

    Fields that are not set stay 0.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=sizeof(type(self)), **fields)


class Image(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("data", c_void_p),
        ("width", c_uint32),
        ("height", c_uint32),
        ("channels", c_uint32),
        ("reserved", c_uint32),
        ("row_stride", c_size_t),
    ]


class ModelOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_uint32),
        ("cache_bytes", c_uint64),
        ("variant", c_char_p),
        ("tokenizer", c_char_p),
        ("prediction_type", c_int32),
        ("int8_weights", c_int32),
        ("on_demand", c_int32),
        ("reserved", c_uint32),
    ]


class MemoryFile(Structure):
    _fields_ = [("name", c_char_p), ("data", c_void_p), ("size", c_size_t)]


class ModelInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("prediction_type", c_int32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("channels", c_uint32),
        ("prediction_channels", c_uint32),
        ("num_train_timesteps", c_uint32),
        ("size_multiple", c_uint32),
        ("class_input_size", c_uint32),
        ("class_count", c_uint32),
        ("parameter_count", c_uint64),
        ("memory_bytes", c_uint64),
        ("fingerprint", c_char * 24),
        ("scale", c_uint32),
        ("image_channels", c_uint32),
        ("text_channels", c_uint32),
        ("pooled_channels", c_uint32),
        ("input_channels", c_uint32),
        ("time_id_count", c_uint32),
        ("encodes_text", c_int32),
        ("rounding_error", c_float),
    ]


class PredictOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("class_input_count", c_uint32),
        ("class_input", c_void_p),
        ("prompt", c_void_p),
        ("time_ids", c_void_p),
        ("timestep_cond", c_void_p),
        ("timestep_cond_count", c_size_t),
    ]


class PromptOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("clip_skip", c_uint32), ("weights", c_int32), ("chunks", c_int32)]


class PromptInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("count", c_uint32),
        ("tokens", c_uint32),
        ("channels", c_uint32),
        ("pooled_channels", c_uint32),
        ("truncated", c_int32),
    ]


class Memory(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_uint32),
        ("weights", c_uint64),
        ("cache", c_uint64),
        ("arena", c_uint64),
    ]


class ModulatorInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("modality_count", c_uint32),
        ("prediction_channels", c_uint32),
        ("prediction_type", c_int32),
        ("parameter_count", c_uint64),
        ("base_fingerprint", c_char * 24),
    ]


class ModalityInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("channels", c_uint32),
        ("encoding", c_int32),
        ("resize", c_int32),
        ("name", c_char * 64),
    ]


class Condition(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("image_count", c_uint32),
        ("modality", c_char_p),
        ("images", POINTER(Image)),
    ]


class SchedulerInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("steps", c_uint32),
        ("history_count", c_uint32),
        ("init_noise_sigma", c_float),
    ]


class StepInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("timestep", c_float),
        ("input_scale", c_float),
        ("needs_noise", c_int32),
    ]


class SessionOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("batch", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("scheduler", c_int32),
        ("steps", c_uint32),
        ("eta", c_float),
        ("scheduler_options", c_char_p),
        ("strength", c_double),
        ("guidance_scale", c_float),
        ("guidance_rescale", c_float),
        ("modulate", c_int32),
        ("guidance_passes", c_int32),
        ("tile_above", c_uint32),
        ("reserved", c_uint32),
    ]


class AttachOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("weight", c_float),
        ("begin", c_float),
        ("end", c_float),
        ("other_base", c_int32),
    ]


class SessionState(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("step", c_uint32),
        ("steps", c_uint32),
        ("timestep", c_int32),
        ("batch", c_uint32),
        ("channels", c_uint32),
        ("height", c_uint32),
        ("width", c_uint32),
        ("seeded", c_int32),
        ("image_width", c_uint32),
        ("image_height", c_uint32),
        ("image_channels", c_uint32),
    ]


Progress = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_uint32, c_uint32)


class Attachment(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("condition_count", c_uint32),
        ("modulator", c_void_p),
        ("conditions", POINTER(Condition)),
        ("options", POINTER(AttachOptions)),
    ]


class GenerateOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("seed_count", c_uint32),
        ("seeds", POINTER(c_uint64)),
        ("session", POINTER(SessionOptions)),
        ("attachments", POINTER(Attachment)),
        ("attachment_count", c_size_t),
        ("class_input", c_void_p),
        ("class_input_count", c_size_t),
        ("callback", Progress),
        ("user", c_void_p),
        ("prompt", c_char_p),
        ("negative_prompt", c_char_p),
        ("prompt_options", POINTER(PromptOptions)),
        ("images", POINTER(Image)),
        ("masks", POINTER(Image)),
        ("image_count", c_uint32),
        ("mask_count", c_uint32),
    ]


class DatasetInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("channels", c_uint32),
        ("count", c_uint64),
        ("modality_count", c_uint32),
        ("reserved", c_uint32),
        ("fingerprint", c_char * 24),
    ]


class BankOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("batch", c_uint32),
        ("count", c_uint64),
        ("seed", c_uint64),
        ("first_timestep", c_uint32),
        ("end_timestep", c_uint32),
    ]


DatasetProgress = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint64)
BankProgress = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint64)


class BankInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("channels", c_uint32),
        ("first_timestep", c_uint32),
        ("end_timestep", c_uint32),
        ("count", c_uint64),
        ("base_fingerprint", c_char * 24),
        ("image_fingerprint", c_char * 24),
    ]


class TrainerOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("warmup_steps", c_uint32),
        ("total_steps", c_uint64),
        ("seed", c_uint64),
        ("learning_rate", c_float),
        ("weight_decay", c_float),
        ("beta1", c_float),
        ("beta2", c_float),
        ("epsilon", c_float),
        ("clip_norm", c_float),
        ("ema_decay", c_float),
        ("weighting", c_int32),
        ("min_snr_gamma", c_float),
        ("noise_weight_low", c_float),
        ("noise_weight_high", c_float),
        ("timesteps", c_int32),
        ("first_timestep", c_uint32),
        ("end_timestep", c_uint32),
        ("rank", c_uint32),
        ("world", c_uint32),
        ("dropout_count", c_uint32),
        ("dropout", c_void_p),
        ("threads", c_uint32),
        ("reserved", c_uint32),
    ]


class ResumeOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threads", c_uint32),
        ("rank", c_uint32),
        ("world", c_uint32),
        ("total_steps", c_uint64),
        ("learning_rate", c_float),
        ("reserved", c_uint32),
    ]


class Batch(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("count", c_uint32),
        ("images", POINTER(Image)),
        ("samples", c_void_p),
        ("sample_count", c_size_t),
        ("width", c_uint32),
        ("height", c_uint32),
        ("conditions", POINTER(Condition)),
        ("condition_count", c_uint32),
        ("reserved", c_uint32),
        ("prompt", c_void_p),
    ]


class TrainReport(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("loss", c_float),
        ("weighted_loss", c_float),
        ("base_loss", c_float),
        ("gradient_norm", c_float),
        ("learning_rate", c_float),
        ("step", c_uint64),
        ("examples", c_uint64),
        ("base_seconds", c_double),
        ("module_seconds", c_double),
        ("optimizer_seconds", c_double),
    ]


class ParameterInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("rank", c_uint32),
        ("offset", c_uint64),
        ("count", c_uint64),
        ("shape", c_uint64 * 4),
        ("name", c_char * 128),
    ]


class TrainerState(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("modality_count", c_uint32),
        ("step", c_uint64),
        ("examples", c_uint64),
        ("pending", c_uint64),
        ("parameter_count", c_uint64),
        ("total_steps", c_uint64),
        ("tensor_count", c_uint32),
        ("reserved", c_uint32),
    ]


class Losses(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("count", c_uint64),
        ("loss", c_double),
        ("base_loss", c_double),
    ]


TrainProgress = CFUNCTYPE(c_int32, c_void_p, c_void_p, POINTER(TrainReport))


class TrainOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("batch", c_uint32),
        ("accumulate", c_uint32),
        ("save_every", c_uint32),
        ("until_step", c_uint64),
        ("save_path", c_char_p),
    ]


# The result's type, then the arguments'. c_int32 as a result is an mcm_status. Buffers of numbers and handles are
# c_void_p, strings c_char_p.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "mcm_last_error": (c_char_p,),
    "mcm_status_name": (c_char_p, c_int32),
    "mcm_version": (c_uint32,),
    "mcm_version_string": (c_char_p,),
    "mcm_image_init": (None, POINTER(Image), c_uint32),
    "mcm_png_size": (c_int32, c_char_p, POINTER(c_uint32), POINTER(c_uint32), POINTER(c_uint32)),
    "mcm_png_read": (c_int32, c_char_p, c_void_p, c_size_t),
    "mcm_png_write": (c_int32, c_char_p, POINTER(Image)),
    "mcm_rng_create": (c_int32, c_uint64, POINTER(c_void_p)),
    "mcm_rng_normal": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_rng_free": (None, c_void_p),
    "mcm_model_options_init": (None, POINTER(ModelOptions), c_uint32),
    "mcm_model_open": (c_int32, c_char_p, POINTER(ModelOptions), POINTER(c_void_p)),
    "mcm_model_open_memory": (c_int32, POINTER(MemoryFile), c_size_t, POINTER(ModelOptions), POINTER(c_void_p)),
    "mcm_model_info_init": (None, POINTER(ModelInfo), c_uint32),
    "mcm_model_get_info": (c_int32, c_void_p, POINTER(ModelInfo)),
    "mcm_memory_init": (None, POINTER(Memory), c_uint32),
    "mcm_model_get_memory": (c_int32, c_void_p, POINTER(Memory)),
    "mcm_model_predict": (
        c_int32, c_void_p, c_uint32, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_void_p, c_size_t, c_void_p,
        c_size_t,
    ),
    "mcm_model_encode": (c_int32, c_void_p, POINTER(Image), c_uint32, c_void_p, c_size_t),
    "mcm_model_decode": (c_int32, c_void_p, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t),
    "mcm_model_free": (None, c_void_p),
    "mcm_modulator_open": (c_int32, c_char_p, POINTER(c_void_p)),
    "mcm_modulator_open_memory": (c_int32, c_void_p, c_size_t, POINTER(c_void_p)),
    "mcm_modulator_info_init": (None, POINTER(ModulatorInfo), c_uint32),
    "mcm_modulator_get_info": (c_int32, c_void_p, POINTER(ModulatorInfo)),
    "mcm_modality_info_init": (None, POINTER(ModalityInfo), c_uint32),
    "mcm_modulator_get_modality": (c_int32, c_void_p, c_uint32, POINTER(ModalityInfo)),
    "mcm_modulator_check": (c_int32, c_void_p, c_void_p),
    "mcm_condition_init": (None, POINTER(Condition), c_uint32),
    "mcm_modulator_modulate": (
        c_int32, c_void_p, c_void_p, c_uint32, c_uint32, c_uint32, c_void_p, c_void_p, c_size_t, c_void_p,
        POINTER(Condition), c_uint32, c_float, c_void_p,
    ),
    "mcm_modulator_free": (None, c_void_p),
    "mcm_scheduler_create": (c_int32, c_void_p, c_int32, c_uint32, c_float, POINTER(c_void_p)),
    "mcm_scheduler_create_with_options": (
        c_int32, c_void_p, c_int32, c_uint32, c_float, c_char_p, POINTER(c_void_p),
    ),
    "mcm_scheduler_info_init": (None, POINTER(SchedulerInfo), c_uint32),
    "mcm_scheduler_get_info": (c_int32, c_void_p, POINTER(SchedulerInfo)),
    "mcm_step_info_init": (None, POINTER(StepInfo), c_uint32),
    "mcm_scheduler_get_step": (c_int32, c_void_p, c_uint32, POINTER(StepInfo)),
    "mcm_scheduler_get_timesteps": (c_int32, c_void_p, c_void_p, c_uint32, POINTER(c_uint32)),
    "mcm_scheduler_needs_noise": (c_int32, c_void_p, c_uint32, POINTER(c_int32)),
    "mcm_scheduler_step": (
        c_int32, c_void_p, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p,
    ),
    "mcm_scheduler_step_with_history": (
        c_int32, c_void_p, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p, c_size_t,
        c_void_p, c_void_p,
    ),
    "mcm_scheduler_add_noise": (c_int32, c_void_p, c_int32, c_void_p, c_void_p, c_size_t, c_void_p),
    "mcm_scheduler_free": (None, c_void_p),
    "mcm_predict_options_init": (None, POINTER(PredictOptions), c_uint32),
    "mcm_model_predict_with": (
        c_int32, c_void_p, c_uint32, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, POINTER(PredictOptions),
        c_void_p, c_size_t,
    ),
    "mcm_prompt_options_init": (None, POINTER(PromptOptions), c_uint32),
    "mcm_prompt_encode": (
        c_int32, c_void_p, POINTER(c_char_p), c_uint32, POINTER(PromptOptions), POINTER(c_void_p),
    ),
    "mcm_prompt_create": (
        c_int32, c_uint32, c_uint32, c_uint32, c_void_p, c_size_t, c_uint32, c_void_p, c_size_t, POINTER(c_void_p),
    ),
    "mcm_prompt_info_init": (None, POINTER(PromptInfo), c_uint32),
    "mcm_prompt_get_info": (c_int32, c_void_p, POINTER(PromptInfo)),
    "mcm_prompt_get_states": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_prompt_get_pooled": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_prompt_free": (None, c_void_p),
    "mcm_controlnet_open": (c_int32, c_char_p, POINTER(ModelOptions), POINTER(c_void_p)),
    "mcm_controlnet_free": (None, c_void_p),
    "mcm_session_options_init": (None, POINTER(SessionOptions), c_uint32),
    "mcm_session_create": (c_int32, c_void_p, POINTER(SessionOptions), POINTER(c_void_p)),
    "mcm_session_seed": (c_int32, c_void_p, POINTER(c_uint64), c_uint32),
    "mcm_session_set_prompt": (c_int32, c_void_p, c_void_p, c_void_p),
    "mcm_session_set_image": (c_int32, c_void_p, POINTER(Image), c_uint32),
    "mcm_session_set_mask": (c_int32, c_void_p, POINTER(Image), c_uint32),
    "mcm_session_set_time_ids": (c_int32, c_void_p, c_void_p, c_void_p, c_size_t),
    "mcm_session_attach_controlnet": (
        c_int32, c_void_p, c_void_p, POINTER(Image), c_uint32, c_int32, POINTER(AttachOptions), POINTER(c_uint32),
    ),
    "mcm_session_set_class_input": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_attach_options_init": (None, POINTER(AttachOptions), c_uint32),
    "mcm_session_attach": (c_int32, c_void_p, c_void_p, POINTER(AttachOptions), POINTER(c_uint32)),
    "mcm_session_detach": (c_int32, c_void_p, c_uint32),
    "mcm_session_set_weight": (c_int32, c_void_p, c_uint32, c_float),
    "mcm_session_set_window": (c_int32, c_void_p, c_uint32, c_float, c_float),
    "mcm_session_set_condition": (c_int32, c_void_p, c_uint32, POINTER(Condition)),
    "mcm_session_set_condition_png": (c_int32, c_void_p, c_uint32, c_char_p, c_char_p),
    "mcm_session_clear_condition": (c_int32, c_void_p, c_uint32, c_char_p),
    "mcm_session_step": (c_int32, c_void_p),
    "mcm_session_state_init": (None, POINTER(SessionState), c_uint32),
    "mcm_session_get_state": (c_int32, c_void_p, POINTER(SessionState)),
    "mcm_session_get_memory": (c_int32, c_void_p, POINTER(Memory)),
    "mcm_session_get_sample": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_session_set_sample": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_session_get_x0": (c_int32, c_void_p, c_void_p, c_size_t),
    "mcm_session_decode": (c_int32, c_void_p, c_int32, c_uint32, c_void_p, c_size_t),
    "mcm_session_run": (c_int32, c_void_p, Progress, c_void_p),
    "mcm_session_free": (None, c_void_p),
    "mcm_attachment_init": (None, POINTER(Attachment), c_uint32),
    "mcm_generate_options_init": (None, POINTER(GenerateOptions), c_uint32),
    "mcm_generate": (c_int32, c_void_p, POINTER(GenerateOptions), c_void_p, c_size_t),
    "mcm_dataset_open": (c_int32, c_char_p, POINTER(c_void_p)),
    "mcm_dataset_info_init": (None, POINTER(DatasetInfo), c_uint32),
    "mcm_dataset_get_info": (c_int32, c_void_p, POINTER(DatasetInfo)),
    "mcm_dataset_get_modality": (c_int32, c_void_p, c_uint32, POINTER(ModalityInfo)),
    "mcm_dataset_encode": (c_int32, c_void_p, c_void_p, c_char_p, DatasetProgress, c_void_p),
    "mcm_dataset_free": (None, c_void_p),
    "mcm_bank_options_init": (None, POINTER(BankOptions), c_uint32),
    "mcm_bank_record": (c_int32, c_void_p, c_void_p, c_char_p, POINTER(BankOptions), BankProgress, c_void_p),
    "mcm_bank_open": (c_int32, c_char_p, POINTER(c_void_p)),
    "mcm_bank_info_init": (None, POINTER(BankInfo), c_uint32),
    "mcm_bank_get_info": (c_int32, c_void_p, POINTER(BankInfo)),
    "mcm_bank_free": (None, c_void_p),
    "mcm_trainer_options_init": (None, POINTER(TrainerOptions), c_uint32),
    "mcm_trainer_create": (c_int32, c_void_p, c_void_p, c_char_p, POINTER(TrainerOptions), POINTER(c_void_p)),
    "mcm_trainer_create_from": (c_int32, c_void_p, c_void_p, c_char_p, POINTER(TrainerOptions), POINTER(c_void_p)),
    "mcm_resume_options_init": (None, POINTER(ResumeOptions), c_uint32),
    "mcm_trainer_resume": (c_int32, c_void_p, c_void_p, c_char_p, POINTER(ResumeOptions), POINTER(c_void_p)),
    "mcm_trainer_save": (c_int32, c_void_p, c_char_p),
    "mcm_batch_init": (None, POINTER(Batch), c_uint32),
    "mcm_train_report_init": (None, POINTER(TrainReport), c_uint32),
    "mcm_trainer_step": (c_int32, c_void_p, POINTER(Batch), POINTER(TrainReport)),
    "mcm_trainer_accumulate": (c_int32, c_void_p, POINTER(Batch), POINTER(TrainReport)),
    "mcm_trainer_apply": (c_int32, c_void_p, POINTER(TrainReport)),
    "mcm_trainer_clear": (c_int32, c_void_p),
    "mcm_trainer_step_dataset": (c_int32, c_void_p, c_void_p, c_void_p, c_uint32, POINTER(TrainReport)),
    "mcm_trainer_accumulate_dataset": (c_int32, c_void_p, c_void_p, c_void_p, c_uint32, POINTER(TrainReport)),
    "mcm_trainer_evaluate": (c_int32, c_void_p, POINTER(Batch), c_int32, POINTER(TrainReport)),
    "mcm_trainer_evaluate_dataset": (
        c_int32, c_void_p, c_void_p, c_void_p, c_uint32, c_int32, POINTER(TrainReport),
    ),
    "mcm_trainer_get_buffers": (
        c_int32, c_void_p, POINTER(c_void_p), POINTER(c_void_p), POINTER(c_void_p), POINTER(c_size_t),
    ),
    "mcm_parameter_info_init": (None, POINTER(ParameterInfo), c_uint32),
    "mcm_trainer_get_parameter": (c_int32, c_void_p, c_uint32, POINTER(ParameterInfo)),
    "mcm_trainer_state_init": (None, POINTER(TrainerState), c_uint32),
    "mcm_trainer_get_state": (c_int32, c_void_p, POINTER(TrainerState)),
    "mcm_trainer_get_modality": (c_int32, c_void_p, c_uint32, POINTER(ModalityInfo)),
    "mcm_losses_init": (None, POINTER(Losses), c_uint32),
    "mcm_trainer_get_losses": (c_int32, c_void_p, c_int32, c_uint32, POINTER(Losses)),
    "mcm_trainer_reset_losses": (c_int32, c_void_p),
    "mcm_trainer_get_modulator": (c_int32, c_void_p, c_int32, POINTER(c_void_p)),
    "mcm_trainer_write_modulator": (c_int32, c_void_p, c_char_p, c_int32, c_int32),
    "mcm_train_options_init": (None, POINTER(TrainOptions), c_uint32),
    "mcm_trainer_train": (
        c_int32, c_void_p, c_void_p, c_void_p, POINTER(TrainOptions), TrainProgress, c_void_p,
    ),
    "mcm_trainer_free": (None, c_void_p),
}

CHANGING = ("mcm_rng_", "mcm_session_", "mcm_trainer_")
"""Functions of objects that belong to one thread at a time."""

LIBRARY = "libmcm.so.1"


def _open() -> CDLL:
    package = os.path.dirname(os.path.abspath(__file__))
    chosen = os.environ.get("MCM_LIBRARY")
    candidates = [chosen] if chosen else [
        os.path.join(package, LIBRARY),
        LIBRARY,
        os.path.normpath(os.path.join(package, "../../../build", LIBRARY)),
    ]
    reasons = []
    for candidate in candidates:
        try:
            return CDLL(candidate)
        except OSError as reason:
            why = str(reason).removeprefix(f"{candidate}: ")
            reasons.append(f"{candidate}: {why}")
    hint = "from MCM_LIBRARY" if chosen else "install libmcm or set MCM_LIBRARY to its path"
    raise ImportError(f"{LIBRARY} cannot be loaded ({hint}); tried " + "; ".join(reasons))


def _check(status: int, function: Any, arguments: Any) -> None:
    if status != 0:
        raise errors.error(status, lib.mcm_last_error().decode("utf-8", "replace"))


def _check_version(library: CDLL) -> None:
    """Raises ImportError for a library of another version, whose functions may have the same names: of another major
    one, another minor one while the major is 0, or an older minor one."""
    try:
        library.mcm_version.restype, library.mcm_version.argtypes = c_uint32, ()
        version = library.mcm_version()
    except AttributeError:
        raise ImportError(f"{library._name} lacks mcm_version: it is no libmcm") from None
    if not fits((version // 1000000, version // 1000 % 1000), (VERSION_MAJOR, VERSION_MINOR)):
        found = f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}"
        later = f" or a later {VERSION_MAJOR}" if VERSION_MAJOR else ""
        raise ImportError(f"{library._name} is libmcm {found}, expected {VERSION_MAJOR}.{VERSION_MINOR}{later}")


def fits(found: tuple[int, int], ours: tuple[int, int]) -> bool:
    """Before 1.0 a minor version may break what was there; from then on it only adds."""
    return found == ours if ours[0] == 0 else found[0] == ours[0] and found >= ours


def _one_at_a_time(function: Any) -> Any:
    """Calls with the same handle wait for each other. The library wants that of objects that change, and the GIL, free
    during calls, does not see to it."""

    def call(handle: Any, *arguments: Any) -> Any:
        with handle.lock if isinstance(handle, Handle) else nullcontext():
            return function(handle, *arguments)

    return call


def _load() -> CDLL:
    library = _open()
    _check_version(library)
    for name, (result, *arguments) in SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{library._name} lacks {name}: it is older than this package") from None
        function.restype = result
        function.argtypes = arguments
        if result is c_int32:
            function.errcheck = _check
        if name.startswith(CHANGING) and not name.endswith(("_init", "_create", "_create_from", "_resume", "_free")):
            setattr(library, name, _one_at_a_time(function))
    return library


class Handle(c_void_p):
    """An opaque pointer that frees what it points to with the last reference to it.

    A call in flight holds a reference, so closing an object that another thread is using does no harm.
    """

    def __init__(self, free: Callable[[c_void_p], None]) -> None:
        super().__init__()
        self._free = free
        self.lock = RLock()

    def __del__(self) -> None:
        if self.value:
            self._free(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a handle cannot be copied: it is freed once")


lib = _load()

OwnerT = TypeVar("OwnerT", bound="Owner")


class Owner:
    """A native object that is freed by close(), at the end of a `with` block, or when it is no longer used."""

    def __init__(self, native: Handle) -> None:
        if not isinstance(native, Handle):  # which the library would take for an object, whatever it is
            kind = type(self)
            makers = (name for name, value in vars(kind).items() if isinstance(value, classmethod) and name[0] != "_")
            expected = " or ".join(f"{kind.__name__}.{name}(...)" for name in makers)
            raise TypeError(f"{kind.__name__}() is given {type(native).__name__}, expected {expected} instead")
        self._native: Optional[Handle] = native

    @property
    def _handle(self) -> Handle:
        if self._native is None:
            raise errors.StateError(f"this {type(self).__name__} is closed")
        return self._native

    @classmethod
    def _handle_of(cls, name: str, value: object) -> Handle:
        """The handle of an argument, which the library would take for one of this class whatever it is of."""
        if not isinstance(value, cls):
            raise TypeError(f"{name} is {type(value).__name__}, expected {cls.__name__}")
        return value._handle

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"a {type(self).__name__} can be neither pickled nor copied: make one in each process")

    def close(self) -> None:
        """Free the native object; may be called again. Other uses then raise StateError."""
        self._native = None

    def __enter__(self: OwnerT) -> OwnerT:
        self._handle  # raises if it is closed
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
