public import CMCM
import Kernels

// The structs of the header: what they are at first, and which of them this library knows.

/// A C struct that begins with its size.
protocol SizedStruct {
    init()  // all zeros, from C
    var struct_size: UInt32 { get set }
    /// What the struct's macro and init function make of it.
    static var initial: Self { get }
    /// Sizes that it had in earlier versions of the header, when its later fields did not exist.
    static var earlierSizes: [Int] { get }
}

extension SizedStruct {
    static var zeros: Self {
        var value = Self()
        value.struct_size = UInt32(MemoryLayout<Self>.size)
        return value
    }

    static var initial: Self { zeros }
    static var earlierSizes: [Int] { [] }
}

/// Writes the initial value as far as the caller knows the struct: `size` bytes, zeros where we know less.
private func initialise<T: SizedStruct>(_ target: UnsafeMutablePointer<T>?, _ size: UInt32) {
    guard let target else { return }
    var value = T.initial
    value.struct_size = size
    withUnsafeBytes(of: &value) { bytes in
        let target = UnsafeMutableRawBufferPointer(start: target, count: Int(size))
        for i in target.indices { target[i] = i < bytes.count ? bytes[i] : 0 }
    }
}

/// A struct whose struct_size says that it is one this library knows; nothing else of it is read before. Of one from an
/// earlier header, what is missing is initial.
func checked<T: SizedStruct>(_ value: UnsafePointer<T>?, _ name: String) throws -> T {
    let value = try pointer(value, name)
    let size = UnsafeRawPointer(value).load(as: UInt32.self)
    if T.earlierSizes.contains(Int(size)) {
        var known = T.initial
        withUnsafeMutableBytes(of: &known) { $0.baseAddress?.copyMemory(from: value, byteCount: Int(size)) }
        return known
    }
    guard Int(size) == MemoryLayout<T>.size else {
        throw MCMError(
            .structSize,
            "\(name): struct_size is \(size), expected \(MemoryLayout<T>.size); was it initialised?")
    }
    return value.pointee
}

func checked<T: SizedStruct>(_ value: UnsafeMutablePointer<T>?, _ name: String) throws -> T {
    try checked(UnsafePointer(value), name)
}

extension mcm_image: SizedStruct {
    static var initial: Self {
        var value = zeros
        value.dtype = MCM_U8
        value.channels = 1
        return value
    }
}
extension mcm_model_options: SizedStruct {
    static var earlierSizes: [Int] { [8, 16] }  // without cache_bytes, without variant and what follows it
}
extension mcm_memory: SizedStruct {}
extension mcm_model_info: SizedStruct {}
extension mcm_modulator_info: SizedStruct {}
extension mcm_modality_info: SizedStruct {}
extension mcm_condition: SizedStruct {
    static var initial: Self {
        var value = zeros
        value.image_count = 1
        return value
    }
}
extension mcm_scheduler_info: SizedStruct {}
extension mcm_step_info: SizedStruct {}
extension mcm_session_options: SizedStruct {
    static var earlierSizes: [Int] { [28, 40] }  // without scheduler_options, without strength and what follows it
    static var initial: Self {
        var value = zeros
        (value.batch, value.strength) = (1, 1)
        return value
    }
}
extension mcm_attach_options: SizedStruct {
    static var initial: Self {
        var value = zeros
        value.weight = 1
        value.end = 1
        return value
    }
}
extension mcm_session_state: SizedStruct {}
extension mcm_attachment: SizedStruct {}
extension mcm_generate_options: SizedStruct {
    static var earlierSizes: [Int] { [72] }  // without prompt and what follows it
}
extension mcm_predict_options: SizedStruct {}
extension mcm_prompt_options: SizedStruct {}
extension mcm_prompt_info: SizedStruct {}
extension mcm_dataset_info: SizedStruct {}
extension mcm_bank_options: SizedStruct {
    static var initial: Self {
        var value = zeros
        value.batch = 16
        return value
    }
}
extension mcm_bank_info: SizedStruct {}
extension mcm_trainer_options: SizedStruct {
    static var initial: Self {
        var value = zeros
        (value.warmup_steps, value.learning_rate, value.weight_decay) = (200, 2e-3, 1e-4)
        (value.beta1, value.beta2, value.epsilon) = (0.9, 0.999, 1e-8)
        (value.clip_norm, value.ema_decay, value.min_snr_gamma) = (1, 0.999, 5)
        (value.weighting, value.noise_weight_low, value.noise_weight_high) = (MCM_WEIGHTING_NOISE, 0.3, 10)
        (value.timesteps, value.world) = (MCM_TIMESTEPS_UNIFORM, 1)
        return value
    }
}
extension mcm_resume_options: SizedStruct {}
extension mcm_batch: SizedStruct {
    static var earlierSizes: [Int] { [56] }  // without prompt
}
extension mcm_train_report: SizedStruct {}
extension mcm_trainer_state: SizedStruct {}
extension mcm_losses: SizedStruct {}
extension mcm_parameter_info: SizedStruct {}
extension mcm_train_options: SizedStruct {
    static var initial: Self {
        var value = zeros
        (value.batch, value.accumulate, value.save_every) = (64, 1, 1000)
        return value
    }
}

@c @implementation public func mcm_image_init(_ value: UnsafeMutablePointer<mcm_image>!, _ struct_size: UInt32) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_model_options_init(
    _ value: UnsafeMutablePointer<mcm_model_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_memory_init(_ value: UnsafeMutablePointer<mcm_memory>!, _ struct_size: UInt32) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_model_info_init(
    _ value: UnsafeMutablePointer<mcm_model_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_modulator_info_init(
    _ value: UnsafeMutablePointer<mcm_modulator_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_modality_info_init(
    _ value: UnsafeMutablePointer<mcm_modality_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_condition_init(_ value: UnsafeMutablePointer<mcm_condition>!, _ struct_size: UInt32)
{
    initialise(value, struct_size)
}
@c @implementation public func mcm_scheduler_info_init(
    _ value: UnsafeMutablePointer<mcm_scheduler_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_step_info_init(
    _ value: UnsafeMutablePointer<mcm_step_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_session_options_init(
    _ value: UnsafeMutablePointer<mcm_session_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_attach_options_init(
    _ value: UnsafeMutablePointer<mcm_attach_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_session_state_init(
    _ value: UnsafeMutablePointer<mcm_session_state>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_attachment_init(
    _ value: UnsafeMutablePointer<mcm_attachment>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_generate_options_init(
    _ value: UnsafeMutablePointer<mcm_generate_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_dataset_info_init(
    _ value: UnsafeMutablePointer<mcm_dataset_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_bank_options_init(
    _ value: UnsafeMutablePointer<mcm_bank_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_bank_info_init(
    _ value: UnsafeMutablePointer<mcm_bank_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_trainer_options_init(
    _ value: UnsafeMutablePointer<mcm_trainer_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_batch_init(
    _ value: UnsafeMutablePointer<mcm_batch>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_train_report_init(
    _ value: UnsafeMutablePointer<mcm_train_report>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_trainer_state_init(
    _ value: UnsafeMutablePointer<mcm_trainer_state>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_losses_init(
    _ value: UnsafeMutablePointer<mcm_losses>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_train_options_init(
    _ value: UnsafeMutablePointer<mcm_train_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_parameter_info_init(
    _ value: UnsafeMutablePointer<mcm_parameter_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_resume_options_init(
    _ value: UnsafeMutablePointer<mcm_resume_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_predict_options_init(
    _ value: UnsafeMutablePointer<mcm_predict_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_prompt_options_init(
    _ value: UnsafeMutablePointer<mcm_prompt_options>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
@c @implementation public func mcm_prompt_info_init(
    _ value: UnsafeMutablePointer<mcm_prompt_info>!, _ struct_size: UInt32
) {
    initialise(value, struct_size)
}
