import Kernels

/// A text as one network's attentions see it. It is the same in all steps, and may be kept as long as the workspace is.
public struct TextKeys {
    let network: AnyObject
    let n: Int
    let keys: [KeysAndValues]

    /// states      what the text encoder makes of a text for each image, (n, 1, tokens, channels)
    /// projection  of the states
    init(
        _ states: Tensor, channels: Int, _ projection: Conv2D? = nil, for attentions: [Attention],
        of network: AnyObject, in workspace: Workspace
    ) throws {
        guard states.c == channels, states.pixels > 0 else {
            throw MCMError(
                .size, "\(states.pixels) text states of \(states.c) numbers, expected some of \(channels)")
        }
        let projected = try projection.map { try conv2D(states, $0, in: workspace) } ?? states
        self.network = network
        n = states.n
        keys = try attentions.map { try $0.keysAndValues(projected, in: workspace) }
    }

    /// Throws unless the network can be called with this text and
    ///   x          (n, h, w, channels)
    ///   timesteps  n numbers
    func check(_ x: Tensor, channels: Int, _ timesteps: [Float], for network: AnyObject) throws {
        guard x.n > 0, x.c == channels, timesteps.count == x.n, n == x.n else {
            throw MCMError(
                .size,
                "\(x.c) channels, \(timesteps.count) timesteps and \(n) texts for \(x.n) images, expected "
                    + "\(channels), \(x.n) and \(x.n)")
        }
        guard self.network === network else {
            throw MCMError(.invalidArgument, "a text for another network, expected one for this")
        }
    }
}
