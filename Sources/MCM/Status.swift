public import CMCM
import CShims
import Kernels

/// Runs the body of an entry point: an error becomes a status and this thread's message.
func call(_ body: () throws -> Void) -> mcm_status {
    do {
        guard shim_cpu_is_supported() else {
            throw MCMError(.cpu, "the CPU lacks AVX2, FMA or BMI2, expected one with x86-64-v3")
        }
        try body()
        return MCM_OK
    } catch let error as MCMError {
        shim_set_last_error(error.message)
        return status(error.kind)
    } catch {
        shim_set_last_error("\(error)")
        return MCM_ERROR_FORMAT
    }
}

private func status(_ kind: MCMError.Kind) -> mcm_status {
    switch kind {
    case .invalidArgument: MCM_ERROR_INVALID_ARGUMENT
    case .structSize: MCM_ERROR_STRUCT_SIZE
    case .size: MCM_ERROR_SIZE
    case .state: MCM_ERROR_STATE
    case .incompatible: MCM_ERROR_INCOMPATIBLE
    case .io: MCM_ERROR_IO
    case .format: MCM_ERROR_FORMAT
    case .unsupported: MCM_ERROR_UNSUPPORTED
    case .outOfMemory: MCM_ERROR_OUT_OF_MEMORY
    case .cpu: MCM_ERROR_CPU
    case .cancelled: MCM_CANCELLED
    }
}

@c @implementation public func mcm_last_error() -> UnsafePointer<CChar>! { shim_last_error() }

@c @implementation public func mcm_status_name(_ status: mcm_status) -> UnsafePointer<CChar>! {
    let name: StaticString =
        switch status {
        case MCM_OK: "MCM_OK"
        case MCM_ERROR_INVALID_ARGUMENT: "MCM_ERROR_INVALID_ARGUMENT"
        case MCM_ERROR_STRUCT_SIZE: "MCM_ERROR_STRUCT_SIZE"
        case MCM_ERROR_SIZE: "MCM_ERROR_SIZE"
        case MCM_ERROR_STATE: "MCM_ERROR_STATE"
        case MCM_ERROR_INCOMPATIBLE: "MCM_ERROR_INCOMPATIBLE"
        case MCM_ERROR_IO: "MCM_ERROR_IO"
        case MCM_ERROR_FORMAT: "MCM_ERROR_FORMAT"
        case MCM_ERROR_UNSUPPORTED: "MCM_ERROR_UNSUPPORTED"
        case MCM_ERROR_OUT_OF_MEMORY: "MCM_ERROR_OUT_OF_MEMORY"
        case MCM_ERROR_CPU: "MCM_ERROR_CPU"
        case MCM_CANCELLED: "MCM_CANCELLED"
        default: "MCM_ERROR_UNKNOWN"
        }
    return text(name)
}

@c @implementation public func mcm_version() -> UInt32 {
    UInt32(MCM_VERSION_MAJOR * 1_000_000 + MCM_VERSION_MINOR * 1000 + MCM_VERSION_PATCH)
}

@c @implementation public func mcm_version_string() -> UnsafePointer<CChar>! { text("0.1.0") }

/// A literal of several bytes as a C string; it lives in the library itself.
private func text(_ literal: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(literal.utf8Start).assumingMemoryBound(to: CChar.self)
}
