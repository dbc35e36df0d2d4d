/* Nanoseconds of processor time that malloc and free of one block take together. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void pairs(size_t size, long count) {
    for (long index = 0; index < count; index++) {
        char *volatile block = malloc(size);
        free(block);
    }
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    size_t size = strtoul(arguments[1], NULL, 10);
    long number = strtol(arguments[2], NULL, 10);
    pairs(size, number / 10);
    double before = now();
    pairs(size, number);
    printf("%.3f\n", (now() - before) / number);
    return 0;
}
