// Runs code of a file that may be anything else around it: hostile FILE OFFSET ENTRY [copy CODE]. Maps the page at OFFSET of
// FILE, calls ENTRY in it for ever, and calls itself `mapped` once it is there. With `copy`, FILE is mapped privately and
// writable, and the first page of CODE is copied into it.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096

static volatile long sink;

static void *map(const char *path, off_t offset, int protection) {
    int file = open(path, O_RDONLY);
    void *page = mmap(NULL, PAGE, protection, MAP_PRIVATE, file, offset);
    if (file < 0 || page == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    close(file);
    return page;
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 6) return 2;
    int copies = argc == 6;
    char *page = map(argv[1], strtoll(argv[2], NULL, 0), PROT_READ | PROT_EXEC | (copies ? PROT_WRITE : 0));
    if (copies) memcpy(page, map(argv[5], 0, PROT_READ), PAGE);
    long (*burn)(long) = (long (*)(long))(page + strtol(argv[3], NULL, 0));
    sink = burn(1);
    prctl(PR_SET_NAME, "mapped");
    for (;;) sink = burn(1000000);
}
