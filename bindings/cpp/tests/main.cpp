// tests <folder of the fashion example> <empty folder> [part of a test's name]
#include "fixtures.hpp"

static void run(const Test &test) {
    const int before = failures;
#ifdef __cpp_exceptions
    try {
        test.run();
    } catch (const std::exception &e) {
        failed(test.name, 0, std::string("thrown: ") + e.what());
    }
#else
    test.run();
#endif
    if (failures > before) std::printf("FAIL %s\n", test.name);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    fashion = argv[1];
    scratch = argv[2];
    int count = 0;
    for (const Test *test = tests; test; test = test->next)
        if (std::strstr(test->name, argc > 3 ? argv[3] : "")) run(*test), count++;
    std::printf("%d tests, %d checks failed\n", count, failures);
    std::fflush(stdout); // a leak checker ends the program without it
    return failures > 0 || count == 0;
}
