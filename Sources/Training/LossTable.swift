/// Losses by timestep and by what was given, summed since the table was begun.
public struct LossTable: Sendable {
    public struct Sums: Sendable {
        public private(set) var count = 0
        public private(set) var loss = 0.0
        public private(set) var baseLoss = 0.0

        mutating func add(_ example: Example) {
            count += 1
            loss += example.loss
            baseLoss += example.baseLoss
        }
    }

    struct Example {
        let timestep: Int
        let isGiven: [Bool]
        let loss, baseLoss: Double
    }

    public static let buckets = 10

    let timesteps: Int
    /// Each for a tenth of the timesteps.
    public private(set) var byTimestep: [Sums]
    /// Per modality, of the examples that had it and of those that did not.
    public private(set) var given, withheld: [Sums]

    init(modalities: Int, timesteps: Int) {
        self.timesteps = timesteps
        byTimestep = Array(repeating: Sums(), count: Self.buckets)
        given = Array(repeating: Sums(), count: modalities)
        withheld = given
    }

    mutating func add(_ examples: [Example]) {
        for example in examples {
            byTimestep[example.timestep * Self.buckets / timesteps].add(example)
            for (m, isGiven) in example.isGiven.enumerated() {
                if isGiven { given[m].add(example) } else { withheld[m].add(example) }
            }
        }
    }
}
