/* What training writes: killed processes, full disks. */
#define _GNU_SOURCE /* mount, symlink, SIGKILL and others */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "drawing.h"
#include "training.h"

enum { LONG = 120 /* seconds that no child takes */ };

static void sleep_us(long us) { nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL); }

static void step(mcm_trainer *trainer) {
    tiny_batch b;
    OK(mcm_trainer_step(trainer, images_of(&b, 0, 2), NULL));
}

/* Files in the folder whose names begin so and do not end there. */
static int files_beside(const char *folder, const char *name) {
    int count = 0;
    DIR *d = opendir(folder);
    CHECK(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        count += strncmp(entry->d_name, name, strlen(name)) == 0 && strcmp(entry->d_name, name) != 0;
    closedir(d);
    return count;
}

/* --- Killed --- */

/* Runs `body` in a child until a random moment, at most `us` from when it has begun, or its end. */
static void kill_during(void (*body)(void), unsigned us) {
    int begun[2];
    char byte;
    CHECK(pipe(begun) == 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(LONG);
        CHECK(write(begun[1], "", 1) == 1);
        body();
        _exit(0);
    }
    CHECK(read(begun[0], &byte, 1) == 1);
    sleep_us(random_below(us));
    kill(child, SIGKILL);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    close(begun[0]);
    close(begun[1]);
}

static mcm_trainer *trainer;
static char path[4096];

static void step_and_save(void) {
    for (;;) {
        step(trainer);
        for (int i = 0; i < 4; i++) OK(mcm_trainer_save(trainer, path));
    }
}

/* Whenever the process ends, the file is one of those that were saved, and goes on as if nothing had been. */
static void training_killed_while_saving(void) {
    open_sources(1);
    snprintf(path, sizeof path, "%s", path_in(scratch, "killed"));
    trainer = new_trainer(model, NULL, NULL);
    OK(mcm_trainer_save(trainer, path));
    for (int i = 0; i < 60; i++) {
        kill_during(step_and_save, 12000);
        uint64_t before = state_of_trainer(trainer).step;
        mcm_trainer_free(trainer);
        OK(mcm_trainer_resume(model, NULL, path, NULL, &trainer));
        CHECK(state_of_trainer(trainer).step >= before);
    }
    uint64_t steps = state_of_trainer(trainer).step;
    printf("     %d of 60 processes ended within a save, after %d steps in all\n", files_beside(scratch, "killed"),
           (int)steps);
    mcm_trainer *never = new_trainer(model, NULL, NULL);
    for (uint64_t i = 0; i < steps; i++) step(never);
    check_same_and_free(trainer, never);
    free_sources();
}

enum { MANY_RECORDS = 700 };

static void record(void) {
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = MANY_RECORDS;
    options.seed = 5;
    options.batch = 1 + random_below(9); /* records do not depend on it */
    OK(mcm_bank_record(model, dataset, path, &options, NULL, NULL));
}

static void training_bank_killed_while_recording(void) {
    open_sources(1);
    snprintf(path, sizeof path, "%s", path_in(scratch, "killed.bank"));
    bytes whole = read_file(new_bank_file(model, dataset, "whole", MANY_RECORDS));
    int kills = 0;
    for (; !file_exists(path) && kills < 400; kills++) {
        kill_during(record, 5000 + 100 * (unsigned)kills); /* a slow machine needs longer for one record */
        if (kills % 8 == 7) { /* or a part of a record, as a power failure may leave */
            struct stat status;
            const char *part = path_in(scratch, "killed.bank.part");
            if (stat(part, &status) == 0) CHECK(truncate(part, status.st_size - (off_t)random_below(200)) == 0);
        }
    }
    CHECK(kills > 3 && file_exists(path) && !file_exists(path_in(scratch, "killed.bank.part")));
    printf("     recorded by %d processes\n", kills);
    bytes recorded = read_file(path);
    CHECK(same_bytes(&whole, &recorded));
    free(whole.data);
    free(recorded.data);
    free_sources();
}

static int32_t cancel_at(void *user, uint64_t done, uint64_t count) {
    CHECK(count == 30 && done <= count && done % 4 == (done == 30 ? 2 : 0));
    return done == *(uint64_t *)user;
}

static void training_bank_goes_on_after_cancelling(void) {
    open_sources(1);
    bytes whole = read_file(new_bank_file(model, dataset, "whole", 30));
    snprintf(path, sizeof path, "%s", path_in(scratch, "cancelled"));
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 30;
    options.seed = 5;
    options.batch = 4;
    for (uint64_t at = 4; at <= 31; at += at == 28 ? 2 : 4) {
        STATUS(at > 30 ? MCM_OK : MCM_CANCELLED, mcm_bank_record(model, dataset, path, &options, cancel_at, &at));
        CHECK(file_exists(path) == (at > 30));
        mcm_bank *bank;
        if (at == 30) break; /* all but the name is there */
        STATUS(at > 30 ? MCM_ERROR_IO : MCM_ERROR_FORMAT, mcm_bank_open(path_in(scratch, "cancelled.part"), &bank));
        options.seed = 6;
        STATUS(MCM_ERROR_STATE, mcm_bank_record(model, dataset, path, &options, NULL, NULL));
        options.seed = 5;
    }
    OK(mcm_bank_record(model, dataset, path, &options, NULL, NULL));
    bytes recorded = read_file(path);
    CHECK(same_bytes(&whole, &recorded));
    free(whole.data);
    free(recorded.data);
    free_sources();
}

static int32_t record_again(void *user, uint64_t done, uint64_t count) {
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    (void)user, (void)done;
    options.count = count;
    STATUS(MCM_ERROR_IO, mcm_bank_record(model, dataset, path, &options, NULL, NULL));
    MESSAGE("another process");
    return 0;
}

/* One recorder at a time; each image is in equally many records, but for one. */
static void training_bank_is_fair(void) {
    enum { COUNT = 3 * EXAMPLES + 5, RECORD = 2 * SIDE * SIDE + 24 };
    open_sources(1);
    snprintf(path, sizeof path, "%s", path_in(scratch, "fair"));
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = COUNT;
    options.first_timestep = 100;
    options.end_timestep = 103;
    OK(mcm_bank_record(model, dataset, path, &options, record_again, NULL));
    bytes file = read_file(path);
    int of_image[EXAMPLES] = {0}, of_timestep[3] = {0};
    for (int i = 0; i < COUNT; i++) {
        uint32_t words[2]; /* image and timestep, docs/format.md */
        memcpy(words, file.data + file.size - (size_t)(COUNT - i) * RECORD, sizeof words);
        CHECK(words[0] < EXAMPLES && words[1] >= 100 && words[1] < 103);
        of_image[words[0]]++;
        of_timestep[words[1] - 100]++;
    }
    for (int i = 0; i < EXAMPLES; i++) CHECK(of_image[i] == 3 || of_image[i] == 4);
    for (int i = 0; i < 3; i++) CHECK(of_timestep[i] > 4);
    free(file.data);
    free_sources();
}

static int32_t check_part(void *user, uint64_t done, uint64_t count) {
    (void)done, (void)count;
    CHECK(file_exists(user));
    return 0;
}

/* A link goes on pointing where it did; what is recorded never lies on another file system than where it will. */
static void training_bank_recorded_through_a_link(void) {
    open_sources(1);
    char folder[4096], target[4200], part[4300];
    snprintf(folder, sizeof folder, "%s/elsewhere", scratch);
    snprintf(target, sizeof target, "%s/bank", folder);
    snprintf(part, sizeof part, "%s.part", target);
    snprintf(path, sizeof path, "%s", path_in(scratch, "link"));
    CHECK(mkdir(folder, 0777) == 0 && symlink(target, path) == 0);
    write_file(target, "old", 3);
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 5;
    OK(mcm_bank_record(model, dataset, path, &options, check_part, part));
    struct stat status;
    CHECK(lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && !file_exists(part));
    mcm_bank *bank;
    OK(mcm_bank_open(target, &bank));
    mcm_bank_free(bank);
    free_sources();
}

/* --- A full disk --- */

static void limit_files_to(rlim_t size) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = size;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* No call that writes has room beside what is there; afterwards there is room, and all goes on. */
static void check_full_disk(const char *folder, void (*fill)(void), void (*make_room)(void)) {
    char of[4096], module[4096], banked[4096], part[4096];
    snprintf(of, sizeof of, "%s/trainer", folder);
    snprintf(module, sizeof module, "%s/module", folder);
    snprintf(banked, sizeof banked, "%s/bank", folder);
    snprintf(part, sizeof part, "%s/bank.part", folder);
    mcm_trainer *t = new_trainer(model, NULL, NULL), *undisturbed = new_trainer(model, NULL, NULL);
    step(t);
    step(undisturbed);
    OK(mcm_trainer_save(t, of));
    OK(mcm_trainer_write_modulator(t, module, 0, MCM_F16));
    bytes old = read_file(of), old_module = read_file(module);
    step(t);
    step(undisturbed);
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 60;
    options.seed = 5;

    trainer_view view = view_of_trainer(t);
    fill();
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, of));
    MESSAGE(of);
    STATUS(MCM_ERROR_IO, mcm_trainer_write_modulator(t, module, 0, MCM_F32));
    STATUS(MCM_ERROR_IO, mcm_trainer_write_modulator(t, path_in(folder, "new"), 0, MCM_F32));
    STATUS(MCM_ERROR_IO, mcm_bank_record(model, dataset, banked, &options, NULL, NULL));
    CHECK(!file_exists(path_in(folder, "new")) && !file_exists(banked));
    CHECK(files_beside(folder, "trainer") == 0 && files_beside(folder, "module") == 0);
    make_room();
    check_unchanged(__FILE__, __LINE__, t, &view);
    bytes now = read_file(of), now_module = read_file(module);
    CHECK(same_bytes(&now, &old) && same_bytes(&now_module, &old_module));

    mcm_train_options loop = MCM_TRAIN_OPTIONS_INIT;
    loop.batch = 2;
    loop.until_step = 6;
    loop.save_every = 2;
    loop.save_path = of;
    fill();
    STATUS(MCM_ERROR_IO, mcm_trainer_train(t, dataset, NULL, &loop, NULL, NULL));
    make_room();
    CHECK(state_of_trainer(t).step == 4); /* the last step is taken */
    OK(mcm_trainer_train(t, dataset, NULL, &loop, NULL, NULL));
    OK(mcm_trainer_train(undisturbed, dataset, NULL, &loop, NULL, NULL));
    check_same_and_free(t, undisturbed);
    OK(mcm_bank_record(model, dataset, banked, &options, NULL, NULL));
    CHECK(!file_exists(part));
    bytes whole = read_file(new_bank_file(model, dataset, "whole", 60)), recorded = read_file(banked);
    CHECK(same_bytes(&whole, &recorded));
    bytes *const all[] = {&old, &old_module, &now, &now_module, &whole, &recorded};
    for (int i = 0; i < 6; i++) free(all[i]->data);
}

static rlim_t room = 5000;

static void allow_little(void) { limit_files_to(room); }
static void allow_all(void) { limit_files_to(RLIM_INFINITY); }

static void training_with_files_limited(void) {
    open_sources(1);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    for (int i = 0; i < 3; i++) {
        char folder[4096];
        snprintf(folder, sizeof folder, "%s/limited%d", scratch, i);
        CHECK(mkdir(folder, 0777) == 0);
        room = (rlim_t[]){0, 100, 9000}[i]; /* the last is for some records of the bank */
        check_full_disk(folder, allow_little, allow_all);
    }
    free_sources();
}

static char disk[4096];

static void fill_disk(void) {
    static char zeros[512];
    FILE *f = fopen(path_in(disk, "filling"), "wb");
    CHECK(f);
    setbuf(f, NULL);
    while (fwrite(zeros, 1, sizeof zeros, f) == sizeof zeros) {}
    fclose(f);
}

static void empty_disk(void) { CHECK(remove(path_in(disk, "filling")) == 0); }

static void training_on_a_full_disk(void) {
    open_sources(1);
    snprintf(disk, sizeof disk, "%s", path_in(scratch, "disk"));
    CHECK(mkdir(disk, 0777) == 0);
    if (mount("none", disk, "tmpfs", 0, "size=1m") == 0) {
        /* Unmounted at once: it is there until this process has left it, or is killed. */
        CHECK(chdir(disk) == 0 && umount2(disk, MNT_DETACH) == 0);
        snprintf(disk, sizeof disk, ".");
        check_full_disk(disk, fill_disk, empty_disk);
    } else {
        printf("     skipped in part: no file system may be mounted\n");
    }
    /* A device is not replaced by a file. */
    const char *full = path_in(scratch, "full"), *part = path_in(scratch, "full.bank.part");
    CHECK(symlink("/dev/full", full) == 0 && symlink("/dev/full", part) == 0);
    mcm_trainer *t = new_trainer(model, NULL, NULL);
    mcm_bank_options options = MCM_BANK_OPTIONS_INIT;
    options.count = 3;
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, full));
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, "/dev/full"));
    STATUS(MCM_ERROR_IO, mcm_trainer_write_modulator(t, full, 0, MCM_F32));
    STATUS(MCM_ERROR_IO, mcm_bank_record(model, dataset, path_in(scratch, "full.bank"), &options, NULL, NULL));
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, scratch));
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, ""));
    STATUS(MCM_ERROR_IO, mcm_trainer_save(t, "/no/such/folder/trainer"));
    STATUS(MCM_ERROR_IO, mcm_bank_record(model, dataset, "/no/such/folder/bank", &options, NULL, NULL));
    struct stat status;
    CHECK(stat("/dev/full", &status) == 0 && S_ISCHR(status.st_mode));
    mcm_trainer_free(t);
    free_sources();
}

const test training_file_tests[] = {
    {"training_killed_while_saving", training_killed_while_saving},
    {"training_bank_killed_while_recording", training_bank_killed_while_recording},
    {"training_bank_goes_on_after_cancelling", training_bank_goes_on_after_cancelling},
    {"training_bank_is_fair", training_bank_is_fair},
    {"training_bank_recorded_through_a_link", training_bank_recorded_through_a_link},
    {"training_with_files_limited", training_with_files_limited},
    {"training_on_a_full_disk", training_on_a_full_disk},
    {NULL, NULL},
};
