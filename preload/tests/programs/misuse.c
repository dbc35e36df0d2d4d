/* One misuse of the heap each, by name. The pointer that the allocator is to complain of is told
   first. */
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Not in every C library: found where the program is loaded. */
#define WEAK __attribute__((weak))
void free_sized(void *pointer, size_t size) WEAK;
void free_aligned_sized(void *pointer, size_t align, size_t size) WEAK;

static void tell(void *pointer) {
    printf("%p\n", pointer);
    fflush(stdout);
}

/* Overwrites every word of the heap that holds `old`, but for those on the stack. */
static void corrupt(uintptr_t old, uintptr_t new) {
    static char line[512];
    int maps = open("/proc/self/maps", O_RDONLY);
    static char text[1 << 16];
    ssize_t length = 0, got;
    while ((got = read(maps, text + length, sizeof text - 1 - length)) > 0) length += got;
    for (char *next = strtok(text, "\n"); next; next = strtok(NULL, "\n")) {
        unsigned long from, to;
        if (sscanf(next, "%lx-%lx rw-p", &from, &to) != 2 || strchr(next, '/')) continue;
        if (strstr(next, "[stack]") || !strstr(next, "rw-p")) continue;
        for (uintptr_t *word = (uintptr_t *)from; word < (uintptr_t *)to; word++)
            if (*word == old) *word = new;
    }
}

int main(int count, char **arguments) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    const char *what = count > 1 ? arguments[1] : "";
    char local[64];
    /* What else is in use keeps the segments. */
    void *volatile kept = malloc(100);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!strcmp(what, "double-free-small")) {
        void *block = malloc(48);
        free(block);
        tell(block);
        free(block);
    } else if (!strcmp(what, "double-free-large")) {
        void *block = malloc(100000);
        free(block);
        tell(block);
        free(block);
    } else if (!strcmp(what, "double-free-very-large")) {
        void *block = malloc(1000000);
        free(block);
        tell(block);
        free(block);
    } else if (!strcmp(what, "realloc-after-free")) {
        void *block = malloc(100000);
        free(block);
        tell(block);
        realloc(block, 200000);
    } else if (!strcmp(what, "double-free-huge")) {
        void *block = malloc(8 << 20);
        free(block);
        tell(block);
        free(block);
    } else if (!strcmp(what, "foreign-stack")) {
        tell(local + 16);
        free(local + 16);
    } else if (!strcmp(what, "foreign-realloc")) {
        tell(local + 16);
        realloc(local + 16, 100);
    } else if (!strcmp(what, "foreign-size")) {
        tell(local + 16);
        malloc_usable_size(local + 16);
    } else if (!strcmp(what, "interior-small")) {
        char *block = malloc(200);
        tell(block + 16);
        free(block + 16);
    } else if (!strcmp(what, "interior-large")) {
        char *block = malloc(100000);
        tell(block + 4096);
        free(block + 4096);
    } else if (!strcmp(what, "interior-huge")) {
        char *block = malloc(8 << 20);
        tell(block + 4096);
        free(block + 4096);
    } else if (!strcmp(what, "interior-realloc")) {
        char *block = malloc(200);
        tell(block + 16);
        realloc(block + 16, 500);
    } else if (!strcmp(what, "wrong-size-small")) {
        void *block = malloc(48);
        tell(block);
        free_sized(block, 200);
    } else if (!strcmp(what, "wrong-size-large")) {
        void *block = malloc(100000);
        tell(block);
        free_sized(block, 48);
    } else if (!strcmp(what, "wrong-size-aligned")) {
        void *block = aligned_alloc(64, 128);
        tell(block);
        free_aligned_sized(block, 64, 1280);
    } else if (!strcmp(what, "corrupted-magazine")) {
        void *block = malloc(700);
        free(block);
        tell(local);
        corrupt((uintptr_t)block, (uintptr_t)local);
    } else {
        return 2;
    }
    /* What waits in a cache is looked at now. */
    malloc_trim(0);
    return 0;
}
