//! Written by `tools/declarations.py`; do not edit.
use mcm_sys::*;
use std::fmt::Write;

/// Field by field its offset and size; NAME.FIELD OFFSET SIZE.
macro_rules! layout {
    ($out:ident, $name:ident, $($field:ident),*) => {
        let place = std::mem::MaybeUninit::<$name>::uninit();
        writeln!($out, "{} {}", stringify!($name), std::mem::size_of::<$name>()).unwrap();
        // SAFETY: the fields' addresses are taken, and not what is there.
        $(let field = unsafe { std::ptr::addr_of!((*place.as_ptr()).$field) };
        let offset = field as usize - place.as_ptr() as usize;
        let field_name = stringify!($field).trim_start_matches("r#");
        writeln!($out, "{}.{} {} {}", stringify!($name), field_name, offset, size(field)).unwrap();)*
    };
}

macro_rules! constant {
    ($out:ident, $name:ident) => {
        writeln!($out, "{} {}", stringify!($name), $name).unwrap();
    };
}

fn size<T>(_: *const T) -> usize {
    std::mem::size_of::<T>()
}

pub fn all() -> String {
    let mut out = String::new();
    layout!(out, mcm_image, struct_size, dtype, data, width, height, channels, reserved, row_stride);
    layout!(
        out,
        mcm_model_options,
        struct_size,
        threads,
        cache_bytes,
        variant,
        tokenizer,
        prediction_type,
        int8_weights,
        on_demand,
        reserved
    );
    layout!(out, mcm_memory_file, name, data, size);
    layout!(
        out,
        mcm_model_info,
        struct_size,
        prediction_type,
        width,
        height,
        channels,
        prediction_channels,
        num_train_timesteps,
        size_multiple,
        class_input_size,
        class_count,
        parameter_count,
        memory_bytes,
        fingerprint,
        scale,
        image_channels,
        text_channels,
        pooled_channels,
        input_channels,
        time_id_count,
        encodes_text,
        rounding_error
    );
    layout!(out, mcm_memory, struct_size, threads, weights, cache, arena);
    layout!(
        out,
        mcm_predict_options,
        struct_size,
        class_input_count,
        class_input,
        prompt,
        time_ids,
        timestep_cond,
        timestep_cond_count
    );
    layout!(out, mcm_prompt_options, struct_size, clip_skip, weights, chunks);
    layout!(out, mcm_prompt_info, struct_size, count, tokens, channels, pooled_channels, truncated);
    layout!(
        out,
        mcm_modulator_info,
        struct_size,
        modality_count,
        prediction_channels,
        prediction_type,
        parameter_count,
        base_fingerprint
    );
    layout!(out, mcm_modality_info, struct_size, channels, encoding, resize, name);
    layout!(out, mcm_condition, struct_size, image_count, modality, images);
    layout!(out, mcm_scheduler_info, struct_size, steps, history_count, init_noise_sigma);
    layout!(out, mcm_step_info, struct_size, timestep, input_scale, needs_noise);
    layout!(
        out,
        mcm_session_options,
        struct_size,
        batch,
        width,
        height,
        scheduler,
        steps,
        eta,
        scheduler_options,
        strength,
        guidance_scale,
        guidance_rescale,
        modulate,
        guidance_passes,
        tile_above,
        reserved
    );
    layout!(out, mcm_attach_options, struct_size, weight, begin, end, other_base);
    layout!(
        out,
        mcm_session_state,
        struct_size,
        step,
        steps,
        timestep,
        batch,
        channels,
        height,
        width,
        seeded,
        image_width,
        image_height,
        image_channels
    );
    layout!(out, mcm_attachment, struct_size, condition_count, modulator, conditions, options);
    layout!(
        out,
        mcm_generate_options,
        struct_size,
        seed_count,
        seeds,
        session,
        attachments,
        attachment_count,
        class_input,
        class_input_count,
        callback,
        user,
        prompt,
        negative_prompt,
        prompt_options,
        images,
        masks,
        image_count,
        mask_count
    );
    layout!(out, mcm_dataset_info, struct_size, width, height, channels, count, modality_count, reserved, fingerprint);
    layout!(out, mcm_bank_options, struct_size, batch, count, seed, first_timestep, end_timestep);
    layout!(
        out,
        mcm_bank_info,
        struct_size,
        width,
        height,
        channels,
        first_timestep,
        end_timestep,
        count,
        base_fingerprint,
        image_fingerprint
    );
    layout!(
        out,
        mcm_trainer_options,
        struct_size,
        warmup_steps,
        total_steps,
        seed,
        learning_rate,
        weight_decay,
        beta1,
        beta2,
        epsilon,
        clip_norm,
        ema_decay,
        weighting,
        min_snr_gamma,
        noise_weight_low,
        noise_weight_high,
        timesteps,
        first_timestep,
        end_timestep,
        rank,
        world,
        dropout_count,
        dropout,
        threads,
        reserved
    );
    layout!(out, mcm_resume_options, struct_size, threads, rank, world, total_steps, learning_rate, reserved);
    layout!(
        out,
        mcm_batch,
        struct_size,
        count,
        images,
        samples,
        sample_count,
        width,
        height,
        conditions,
        condition_count,
        reserved,
        prompt
    );
    layout!(
        out,
        mcm_train_report,
        struct_size,
        loss,
        weighted_loss,
        base_loss,
        gradient_norm,
        learning_rate,
        step,
        examples,
        base_seconds,
        module_seconds,
        optimizer_seconds
    );
    layout!(out, mcm_parameter_info, struct_size, rank, offset, count, shape, name);
    layout!(
        out,
        mcm_trainer_state,
        struct_size,
        modality_count,
        step,
        examples,
        pending,
        parameter_count,
        total_steps,
        tensor_count,
        reserved
    );
    layout!(out, mcm_losses, struct_size, reserved, count, loss, base_loss);
    layout!(out, mcm_train_options, struct_size, batch, accumulate, save_every, until_step, save_path);
    constant!(out, MCM_VERSION_MAJOR);
    constant!(out, MCM_VERSION_MINOR);
    constant!(out, MCM_VERSION_PATCH);
    constant!(out, MCM_VERSION);
    constant!(out, MCM_OK);
    constant!(out, MCM_ERROR_INVALID_ARGUMENT);
    constant!(out, MCM_ERROR_STRUCT_SIZE);
    constant!(out, MCM_ERROR_SIZE);
    constant!(out, MCM_ERROR_STATE);
    constant!(out, MCM_ERROR_INCOMPATIBLE);
    constant!(out, MCM_ERROR_IO);
    constant!(out, MCM_ERROR_FORMAT);
    constant!(out, MCM_ERROR_UNSUPPORTED);
    constant!(out, MCM_ERROR_OUT_OF_MEMORY);
    constant!(out, MCM_ERROR_CPU);
    constant!(out, MCM_CANCELLED);
    constant!(out, MCM_U8);
    constant!(out, MCM_F32);
    constant!(out, MCM_PREDICTION_EPSILON);
    constant!(out, MCM_PREDICTION_SAMPLE);
    constant!(out, MCM_PREDICTION_V);
    constant!(out, MCM_ENCODING_GREY);
    constant!(out, MCM_ENCODING_RGB);
    constant!(out, MCM_ENCODING_ONE_HOT);
    constant!(out, MCM_RESIZE_NEAREST);
    constant!(out, MCM_RESIZE_AREA);
    constant!(out, MCM_RESIZE_BILINEAR);
    constant!(out, MCM_SCHEDULER_DEFAULT);
    constant!(out, MCM_SCHEDULER_DDPM);
    constant!(out, MCM_SCHEDULER_DDIM);
    constant!(out, MCM_SCHEDULER_PNDM);
    constant!(out, MCM_SCHEDULER_LMS);
    constant!(out, MCM_SCHEDULER_EULER);
    constant!(out, MCM_SCHEDULER_EULER_ANCESTRAL);
    constant!(out, MCM_SCHEDULER_HEUN);
    constant!(out, MCM_SCHEDULER_DPM_SOLVER_MULTISTEP);
    constant!(out, MCM_SCHEDULER_UNIPC);
    constant!(out, MCM_SCHEDULER_LCM);
    constant!(out, MCM_MODULATE_GUIDED);
    constant!(out, MCM_MODULATE_CONDITIONAL);
    constant!(out, MCM_DECODE_SAMPLE);
    constant!(out, MCM_DECODE_X0);
    constant!(out, MCM_DECODE_PREVIEW);
    constant!(out, MCM_WEIGHTING_UNIFORM);
    constant!(out, MCM_WEIGHTING_MIN_SNR);
    constant!(out, MCM_WEIGHTING_NOISE);
    constant!(out, MCM_TIMESTEPS_UNIFORM);
    constant!(out, MCM_TIMESTEPS_WEIGHTED);
    constant!(out, MCM_LOSSES_TIMESTEP);
    constant!(out, MCM_LOSSES_GIVEN);
    constant!(out, MCM_LOSSES_WITHHELD);
    constant!(out, MCM_F16);
    out
}
