// A program that makes code at run time and says so: jit FOLDER NAME [private | memfd | shared | silent] [SECONDS]. Copies
// two burners, one of which calls the other, into fresh memory, names them `NAME outer` and `NAME leaf (int)` in
// /tmp/perf-PID.map, unless silent, and, with a FOLDER that is not `-`, in FOLDER/jit-PID.dump with lines of NAME.js, and
// burns CPU in them until SIGTERM or for the given seconds. PID is what getpid says. It removes its map in the end.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "burn.h"

#define PAGE 4096
#define OUTER 0x100
#define LEAF 0x200

// push rbp; mov rbp, rsp; mov rcx, rdi; 1: lea rax, [rax*2+rax]; dec rcx; jnz 1b; pop rbp; ret
static const unsigned char leaf[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf9, 0x48, 0x8d, 0x04,
                                     0x40, 0x48, 0xff, 0xc9, 0x75, 0xf7, 0x5d, 0xc3};
// push rbp; mov rbp, rsp; call leaf; nop; pop rbp; ret
static const unsigned char outer[] = {0x55, 0x48, 0x89, 0xe5, 0xe8, LEAF - OUTER - 9, 0, 0, 0, 0x90, 0x5d, 0xc3};

static unsigned char *memory(const char *kind) {
    int protection = PROT_READ | PROT_WRITE | PROT_EXEC;
    unsigned char *page;
    if (!strcmp(kind, "memfd")) {
        int file = memfd_create("doublemapper", MFD_CLOEXEC);
        if (ftruncate(file, PAGE)) exit(1);
        page = mmap(NULL, PAGE, protection, MAP_SHARED, file, 0);
        close(file);
    } else {
        int sharing = strcmp(kind, "shared") ? MAP_PRIVATE : MAP_SHARED;
        page = mmap(NULL, PAGE, protection, MAP_ANONYMOUS | sharing, -1, 0);
    }
    if (page == MAP_FAILED) exit(1);
    memcpy(page + OUTER, outer, sizeof outer);
    memcpy(page + LEAF, leaf, sizeof leaf);
    return page;
}

static void write_map(const char *path, const unsigned char *page, const char *name) {
    FILE *map = fopen(path, "w");
    if (!map) exit(1);
    fprintf(map, "%lx %zx %s outer\n0x%lx 0x%zx %s leaf (int)\n", (long)page + OUTER, sizeof outer, name,
            (long)page + LEAF, sizeof leaf, name);
    fclose(map);
}

static void put(FILE *dump, const void *bytes, size_t size) { fwrite(bytes, size, 1, dump); }

static void write_function(FILE *dump, const unsigned char *code, size_t size, uint64_t index, const char *name,
                           const char *what) {
    char function[128], file[128];
    snprintf(function, sizeof function, "%s %s of dump", name, what);
    snprintf(file, sizeof file, "%s.js", name);
    uint64_t address = (uint64_t)code, count = 1, time = 1;
    uint32_t lines[] = {2, 16 + 16 + 16 + strlen(file) + 1}, line[] = {40 + index, 0};
    put(dump, lines, 8), put(dump, &time, 8), put(dump, &address, 8), put(dump, &count, 8);
    put(dump, &address, 8), put(dump, line, 8), put(dump, file, strlen(file) + 1);
    uint32_t load[] = {0, 16 + 40 + strlen(function) + 1 + size}, ids[] = {getpid(), getpid()};
    uint64_t numbers[] = {address, address, size, index};
    put(dump, load, 8), put(dump, &time, 8), put(dump, ids, 8), put(dump, numbers, 32);
    put(dump, function, strlen(function) + 1), put(dump, code, size);
}

static void write_dump(const char *folder, const unsigned char *page, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/jit-%d.dump", folder, getpid());
    FILE *dump = fopen(path, "w+");
    // The mark by which the file is found.
    if (!dump || mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(dump), 0) == MAP_FAILED) exit(1);
    uint32_t header[] = {0x4a695444, 1, 40, 62, 0, getpid(), 0, 0, 0, 0};
    put(dump, header, sizeof header);
    write_function(dump, page + OUTER, sizeof outer, 1, name, "outer");
    write_function(dump, page + LEAF, sizeof leaf, 2, name, "leaf");
    fclose(dump);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *kind = argc > 3 ? argv[3] : "private";
    double seconds = argc > 4 ? atof(argv[4]) : 1e9;
    signal(SIGTERM, on_term);
    unsigned char *page = memory(kind);
    char map[64];
    snprintf(map, sizeof map, "/tmp/perf-%d.map", getpid());
    if (strcmp(kind, "silent")) write_map(map, page, argv[2]);
    if (strcmp(argv[1], "-")) write_dump(argv[1], page, argv[2]);
    void (*burn)(long) = (void (*)(long))(page + OUTER);
    while (!stop && cpu() < seconds) burn(varied(10000));
    unlink(map);
    printf("{\"pid\": %d, \"cpu_seconds\": %.6f}\n", getpid(), cpu());
    return 0;
}
