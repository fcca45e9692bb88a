public import CMCM
import Kernels

/// A generator as a handle.
private final class RandomHandle {
    var generator: Generator

    init(_ seed: UInt64) { generator = Generator(seed: seed) }
}

@c @implementation public func mcm_rng_create(
    _ seed: UInt64, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call { try pointer(out, "out").pointee = handle(RandomHandle(seed)) }
}

@c @implementation public func mcm_rng_normal(
    _ rng: OpaquePointer!, _ values: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let rng = try object(rng, RandomHandle.self, "rng")
        guard (0...1 << 31).contains(count) else {
            throw MCMError(.size, "values: a count of \(count), expected at most 2^31")
        }
        if count > 0 { rng.generator.normal(into: try pointer(values, "values"), count: count) }
    }
}

@c @implementation public func mcm_rng_free(_ rng: OpaquePointer!) { release(rng) }
