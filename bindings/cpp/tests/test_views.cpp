// Views and images.
#include <array>
#include <filesystem>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "fixtures.hpp"

static size_t count(mcm::span<const float> values) { return values.size(); }

TEST(spans) {
    std::vector<float> vector = {1, 2, 3};
    const std::vector<float> constant = vector;
    std::array<float, 2> array = {4, 5};
    float plain[] = {6, 7, 8, 9};
    CHECK(count(vector) == 3 && count(constant) == 3 && count(array) == 2 && count(plain) == 4);
    CHECK(count({plain, 1}) == 1 && count({}) == 0 && count(std::vector<float>(5)) == 5);
    CHECK(count({0, 8}) == 2 && count({1.5f, 2, 3}) == 3 && count({1}) == 1);
    mcm::span<float> writable = vector;
    writable[1] = 9;
    CHECK(vector[1] == 9 && count(writable) == 3 && writable.end() - writable.begin() == 3 && !writable.empty());
    static_assert(!std::is_constructible_v<mcm::span<float>, const std::vector<float> &>, "no write to constants");
    static_assert(!std::is_constructible_v<mcm::span<const float>, std::vector<double> &>, "no other element");
#if __cplusplus >= 202002L
    CHECK(count(std::span(vector)) == 3 && mcm::span<float>(std::span(vector)).data() == vector.data());
#endif
}

static std::string text(mcm::cstring value) { return value ? (const char *)value : "none"; }

TEST(texts) {
    const std::filesystem::path path = "folder/file";
    CHECK(text("a") == "a" && text(std::string("b")) == "b" && text(path) == "folder/file" && text(nullptr) == "none");
    const mcm::optional_text none, kept = path, literal = "c";
    CHECK(!mcm::detail::c_str(none) && text(*kept) == "folder/file" && text(mcm::detail::c_str(literal)) == "c");
    static_assert(!std::is_convertible_v<std::string_view, mcm::cstring>, "not zero-terminated");
}

TEST(products) {
    CHECK(mcm::detail::product({3, 4, 5}) == 60 && mcm::detail::product({}) == 1);
    CHECK(mcm::detail::product({UINT32_MAX, UINT32_MAX, 2}) == SIZE_MAX);
    CHECK(mcm::detail::product({SIZE_MAX, 2, 0}) == 0);
    CHECK(mcm::detail::count32(size_t(UINT32_MAX) + 5) == UINT32_MAX);
}

TEST(views_have_sizes) {
    const std::vector<uint8_t> bytes(24);
    const std::vector<float> floats(24);
    const auto rgb = mcm::view(bytes, 4, 2, 3);
    CHECK(rgb.dtype == MCM_U8 && rgb.data == bytes.data() && rgb.width == 4 && rgb.height == 2 && rgb.channels == 3);
    CHECK(mcm::view(floats, 4, 6).dtype == MCM_F32);
    // Rows with gaps; none is needed after the last.
    CHECK(mcm::view(bytes, 4, 4, 1, 6).row_stride == 6);
    CHECK(mcm::view(bytes, 6, 3, 1, 9).row_stride == 9);
    MISUSE(size, "24 values, expected 25", mcm::view(bytes, 7, 3, 1, 9));
    MISUSE(size, "24 values, expected 32", mcm::view(floats, 8, 4));
    MISUSE(size, "3 values, expected 4", mcm::view(bytes, 4, 4, 1, 3));
    MISUSE(size, "expected", mcm::view(bytes, UINT32_MAX, UINT32_MAX, UINT32_MAX));
    MISUSE(size, "expected", mcm::view(bytes, 4, UINT32_MAX, 1, SIZE_MAX));
}

TEST(png_there_and_back) {
    const std::string path = in_scratch("image.png");
    for (uint32_t channels : {1u, 3u, 4u}) {
        auto image = mcm::Image::create(5, 3, channels);
        CHECK(image.size() == 15 * channels && size_t(image.end() - image.begin()) == image.size());
        for (size_t i = 0; i < image.size(); i++) image.data()[i] = uint8_t(i * 7);
        image.write(path);
        const auto again = mcm::Image::read(path);
        CHECK(again.width() == 5 && again.height() == 3 && again.channels() == channels);
        CHECK(std::equal(image.begin(), image.end(), again.begin(), again.end()));
    }
    // A view with gaps.
    const std::vector<uint8_t> wide(40, 3);
    mcm::write_png(std::filesystem::path(path), mcm::view(wide, 5, 4, 1, 10));
    CHECK(mcm::Image::read(path).size() == 20);
}

TEST(bad_images) {
    ENVIRONMENT(io, "nowhere.png", mcm::Image::read(in_scratch("nowhere.png")));
    MISUSE(invalid_argument, "path", mcm::Image::read(nullptr));
    const std::string path = in_scratch("not.png");
    write_file(path.c_str(), "hello", 5);
    ENVIRONMENT(format, "not.png", mcm::Image::read(path));
    auto image = mcm::Image::create(2, 2);
    ENVIRONMENT(io, "no/such", image.write(in_scratch("no/such/folder.png")));
    ENVIRONMENT(out_of_memory, "4294967295", mcm::Image::create(UINT32_MAX, UINT32_MAX, UINT32_MAX));
    mcm::Image moved = std::move(image);
    CHECK(image.size() == 0 && image.begin() == image.end() && moved.size() == 4);
    MISUSE(invalid_argument, "", image.write(path));
    MISUSE(invalid_argument, "", mcm::Image().write(path));
    MISUSE(invalid_argument, "channels", mcm::Image::create(2, 2, 2).write(path));
}

TEST(image_lists) {
    auto image = mcm::Image::create(2, 2);
    const mcm::ImageView view = image;
    std::vector<mcm::Image> several;
    several.push_back(mcm::Image::create(1, 1));
    several.push_back(mcm::Image::create(3, 3));
    CHECK(mcm::Images().size() == 0 && mcm::Images().data() == nullptr);
    CHECK(mcm::Images(image).size() == 1 && mcm::Images(view).data()->data == image.data());
    CHECK(mcm::Images(several).size() == 2 && mcm::Images(std::vector<mcm::ImageView>(4, view)).size() == 4);
    // An image that is moved in is kept, also by copies.
    mcm::Images kept = mcm::Image::create(4, 4);
    mcm::Images copy = kept;
    kept = mcm::Images();
    std::memset(const_cast<void *>(copy.data()->data), 1, 16);
    const uint8_t *data = several[1].data();
    mcm::Images all = std::move(several);
    CHECK(all.size() == 2 && all.data()[1].data == data);
    // A temporary container would take its images with it; one of views does not.
    std::array<mcm::Image, 2> array;
    CHECK(mcm::Images(array).size() == 2 && mcm::Images(mcm::span<const mcm::Image>(array)).size() == 2);
    CHECK(mcm::Images(std::array<mcm::ImageView, 2>{view, view}).size() == 2);
    static_assert(!std::is_constructible_v<mcm::Images, std::array<mcm::Image, 2>>);
    static_assert(!std::is_constructible_v<mcm::Images, std::array<const mcm::Image, 2>>);
    const mcm::ImageView views[] = {view, view};
    const mcm::Image images[3];
    CHECK(mcm::Images(views).size() == 2 && mcm::Images(images).size() == 3);
    static_assert(!std::is_constructible_v<mcm::Images, const std::vector<mcm::Image>>);
}
